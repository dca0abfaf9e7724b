-- Users none of whose payments failed, and whether they have a policy.
-- key: user_id
-- policies: key user_id
-- users: key user_id
-- transactions: key user_id
SELECT
    u.user_id,
    u.country,
    EXISTS (SELECT 1 FROM feature_store.policies p WHERE p.user_id = u.user_id) AS has_policy
FROM feature_store.users u
WHERE NOT EXISTS (
    SELECT 1 FROM feature_store.transactions t WHERE t.user_id = u.user_id AND NOT t.successful
)
