-- Two ratios of each user, who may be on either side only.
-- key: user_id
-- transactions: key user_id
-- quotes: key user_id
WITH payments AS (
    SELECT user_id, count(*) FILTER (WHERE NOT successful) / count(*) AS failed_ratio
    FROM feature_store.transactions
    GROUP BY user_id
), conversion AS (
    SELECT user_id, avg(CASE WHEN is_paid THEN 1.0 ELSE 0.0 END) AS paid_ratio
    FROM feature_store.quotes
    GROUP BY user_id
)
SELECT user_id, failed_ratio, paid_ratio
FROM payments
FULL JOIN conversion USING (user_id)
