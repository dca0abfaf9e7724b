-- Quotes of users who hold a dear policy.
-- key: user_id
-- quotes: key user_id
-- policies: key user_id
SELECT q.quote_id, q.user_id, q.price
FROM feature_store.quotes q
WHERE q.price > 50
    AND q.user_id IN (SELECT p.user_id FROM feature_store.policies p WHERE p.premium > 100)
