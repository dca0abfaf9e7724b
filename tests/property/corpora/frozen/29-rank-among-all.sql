-- Where a user stands among all who paid, without users of emulators: a rank over everyone, and NOT IN.
-- key: user_id
-- users: key user_id
-- transactions: whole WINDOW
-- devices: whole IN_SUBQUERY
SELECT u.user_id, u.country, r.place
FROM feature_store.users u
JOIN (
    SELECT user_id, rank() OVER (ORDER BY sum(amount) DESC) AS place
    FROM feature_store.transactions
    GROUP BY user_id
) r ON r.user_id = u.user_id
WHERE u.user_id NOT IN (
    SELECT user_id FROM feature_store.devices WHERE os = 'emulator' AND user_id IS NOT NULL
)
