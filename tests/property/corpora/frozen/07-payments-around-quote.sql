-- Payments of the quote's user around the quote, by quote.
-- key: quote_id
-- quotes: key quote_id
-- transactions: chain user_id
SELECT
    q.quote_id,
    count(t.transaction_id) AS payments,
    count(t.transaction_id) FILTER (WHERE NOT t.successful) AS failed,
    sum(t.amount) AS paid
FROM feature_store.quotes q
LEFT JOIN feature_store.transactions t
    ON t.user_id = q.user_id
    AND t.ts BETWEEN q.creation_date - INTERVAL 30 DAY AND q.creation_date + INTERVAL 30 DAY
GROUP BY q.quote_id
