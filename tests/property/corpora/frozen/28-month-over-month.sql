-- Each month against the one before: a WITH query used twice, by the same key.
-- key: user_id
-- transactions: key user_id
WITH monthly AS (
    SELECT user_id, date_trunc('month', ts) AS month, sum(amount) AS paid
    FROM feature_store.transactions
    GROUP BY ALL
)
SELECT this.user_id, this.month, this.paid, this.paid / nullif(before.paid, 0) AS growth
FROM monthly before
RIGHT JOIN monthly this ON before.user_id = this.user_id AND before.month = this.month - INTERVAL 1 MONTH
