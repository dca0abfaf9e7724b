-- Each user against the mean of all: that mean needs all rows.
-- key: user_id
-- transactions: whole GLOBAL_AGGREGATE
-- transactions: key user_id
WITH everyone AS (
    SELECT avg(amount) AS mean, stddev_pop(amount) AS spread FROM feature_store.transactions
)
SELECT t.user_id, avg(t.amount) AS mean_amount, (avg(t.amount) - e.mean) / e.spread AS deviation
FROM feature_store.transactions t
CROSS JOIN everyone e
GROUP BY t.user_id, e.mean, e.spread
