-- Sums by user and merchant with subtotals of the user: the user is in all grouping sets.
-- key: user_id
-- transactions: key user_id
SELECT user_id, merchant_id, sum(amount) AS paid, count(*) AS payments
FROM feature_store.transactions
GROUP BY GROUPING SETS ((user_id, merchant_id), (user_id))
