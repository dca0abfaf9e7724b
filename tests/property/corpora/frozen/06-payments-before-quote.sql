-- How many payments in the week and the month before each quote.
-- key: user_id
-- transactions: key user_id
-- transactions: key user_id
-- quotes: key user_id
SELECT
    q.quote_id,
    q.user_id,
    (
        SELECT count(*) FROM feature_store.transactions t
        WHERE t.user_id = q.user_id AND t.ts < q.creation_date AND t.ts >= q.creation_date - INTERVAL 7 DAY
    ) AS payments_7d,
    (
        SELECT coalesce(sum(t.amount), 0) FROM feature_store.transactions t
        WHERE t.user_id = q.user_id AND t.ts < q.creation_date AND t.ts >= q.creation_date - INTERVAL 30 DAY
    ) AS paid_30d
FROM feature_store.quotes q
