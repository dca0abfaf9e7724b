-- The tags of a merchant, one row each, with its trade.
-- key: merchant_id
-- merchants: key merchant_id
-- transactions: key merchant_id
SELECT m.merchant_id, g.tag, t.payments, t.paid
FROM feature_store.merchants m
CROSS JOIN LATERAL (SELECT unnest(m.tags) AS tag) g
LEFT JOIN (
    SELECT merchant_id, count(*) AS payments, sum(amount) AS paid
    FROM feature_store.transactions
    GROUP BY merchant_id
) t ON t.merchant_id = m.merchant_id
