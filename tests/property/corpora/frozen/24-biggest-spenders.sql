-- The hundred who spent most: a limit over all.
-- key: user_id
-- transactions: whole LIMIT
SELECT user_id, sum(amount) AS spent
FROM feature_store.transactions
WHERE user_id IS NOT NULL
GROUP BY user_id
ORDER BY spent DESC, user_id
LIMIT 100
