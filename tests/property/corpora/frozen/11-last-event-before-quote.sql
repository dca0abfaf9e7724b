-- What the user did last before each quote.
-- key: user_id
-- quotes: key user_id
-- events: key user_id
SELECT q.quote_id, q.user_id, e.kind AS last_kind, date_diff('minute', e.ts, q.creation_date) AS minutes_before
FROM feature_store.quotes q
ASOF LEFT JOIN feature_store.events e ON e.user_id = q.user_id AND e.ts <= q.creation_date
