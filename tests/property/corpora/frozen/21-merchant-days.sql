-- A merchant's day, asked by both; the day is computed, so the merchant alone narrows.
-- key: merchant_id, day
-- transactions: key merchant_id
-- merchants: key merchant_id
SELECT
    merchant_id,
    CAST(ts AS DATE) AS day,
    category,
    count(*) AS payments,
    quantile_cont(amount, 0.5) AS median_amount,
    quantile_cont(amount, 0.95) AS high_amount
FROM feature_store.transactions
NATURAL JOIN feature_store.merchants
GROUP BY ALL
