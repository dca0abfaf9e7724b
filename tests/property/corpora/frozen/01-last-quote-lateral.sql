-- The last quote of each user, if there is one.
-- key: user_id
-- users: key user_id
-- quotes: key user_id
SELECT u.user_id, u.country, last.quote_id AS last_quote_id, last.price AS last_price
FROM feature_store.users u
LEFT JOIN LATERAL (
    SELECT q.quote_id, q.price
    FROM feature_store.quotes q
    WHERE q.user_id = u.user_id
    ORDER BY q.creation_date DESC, q.quote_id DESC
    LIMIT 1
) last ON true
