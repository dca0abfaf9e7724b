-- Each payment against the ten before it and against the last one.
-- key: user_id
-- transactions: key user_id
SELECT
    transaction_id,
    user_id,
    ts,
    amount,
    avg(amount) OVER (
        PARTITION BY user_id ORDER BY ts, transaction_id ROWS BETWEEN 10 PRECEDING AND 1 PRECEDING
    ) AS mean_of_ten_before,
    amount - lag(amount) OVER by_user AS change,
    sum(amount) OVER by_user AS paid_so_far
FROM feature_store.transactions
WINDOW by_user AS (PARTITION BY user_id ORDER BY ts, transaction_id)
