-- How many devices, payments and kinds of merchants each user has: a join of four tables.
-- key: user_id
-- users: key user_id
-- devices: key user_id
-- transactions: key user_id
-- merchants: chain merchant_id
SELECT
    u.user_id,
    u.country,
    count(DISTINCT d.device_id) AS devices,
    count(DISTINCT t.transaction_id) AS payments,
    count(DISTINCT m.category) AS categories
FROM feature_store.users u
LEFT JOIN feature_store.devices d ON d.user_id = u.user_id
LEFT JOIN feature_store.transactions t ON t.user_id = u.user_id
LEFT JOIN feature_store.merchants m ON m.merchant_id = t.merchant_id
GROUP BY u.user_id, u.country
