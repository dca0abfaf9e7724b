-- One timeline out of three tables, and how long ago each thing before was.
-- key: user_id
-- quotes: key user_id
-- transactions: key user_id
-- events: key user_id
SELECT
    user_id,
    what,
    id,
    happened,
    date_diff('minute', lag(happened) OVER (PARTITION BY user_id ORDER BY happened, what, id), happened) AS minutes_since_last
FROM (
    SELECT user_id, creation_date AS happened, 'quote' AS what, quote_id AS id FROM feature_store.quotes
    UNION ALL
    SELECT user_id, ts, 'payment', transaction_id FROM feature_store.transactions WHERE successful
    UNION ALL
    SELECT user_id, ts, kind, event_id FROM feature_store.events WHERE kind IN ('click', 'buy')
)
