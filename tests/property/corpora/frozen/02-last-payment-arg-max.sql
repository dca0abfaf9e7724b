-- The last successful payment of each user with more than one.
-- key: user_id
-- transactions: key user_id
SELECT
    user_id,
    arg_max(amount, (ts, transaction_id)) AS last_amount,
    arg_max(merchant_id, (ts, transaction_id)) AS last_merchant,
    max(ts) AS last_paid
FROM feature_store.transactions
WHERE successful
GROUP BY user_id
HAVING count(*) > 1
