-- name: insurance_quotes
-- index_key: user_id
-- description: One row per quote, with what is known of the customer behind it
-- owner: pricing

SELECT
    Q.quote_id,
    Q.user_id,
    Q.creation_date,
    Q.binding_date,
    Q.quote_type,
    Q.quote_device,
    Q.is_paid,
    U.creation_date AS user_since,
    P.policy_id,
    P.purchase_time,
    -- NULL for a customer who never tried to pay: a nullable count, which naive code turns into a float
    T.failed_payments
FROM feature_store.quotes Q
LEFT JOIN feature_store.users U ON Q.user_id = U.user_id
LEFT JOIN feature_store.policies P ON P.quote_id = Q.quote_id AND P.user_id = Q.user_id
LEFT JOIN (
    SELECT user_id, count(*) FILTER (WHERE NOT successful) AS failed_payments
    FROM feature_store.transactions
    GROUP BY user_id
) T ON T.user_id = Q.user_id
