-- The demo's query, asked by quote: users and payments are reached through the quote's user.
-- key: quote_id
-- quotes: key quote_id
-- users: chain user_id
-- policies: key quote_id
-- transactions: chain user_id
SELECT
    Q.quote_id,
    Q.user_id,
    Q.creation_date,
    Q.quote_type,
    Q.is_paid,
    U.creation_date AS user_since,
    P.policy_id,
    P.purchase_time,
    T.failed_payments
FROM feature_store.quotes Q
LEFT JOIN feature_store.users U ON Q.user_id = U.user_id
LEFT JOIN feature_store.policies P ON P.quote_id = Q.quote_id AND P.user_id = Q.user_id
LEFT JOIN (
    SELECT user_id, count(*) FILTER (WHERE NOT successful) AS failed_payments
    FROM feature_store.transactions
    GROUP BY user_id
) T ON T.user_id = Q.user_id
