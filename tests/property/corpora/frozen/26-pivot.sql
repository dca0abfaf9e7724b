-- Sums of each kind of event side by side, by PIVOT.
-- key: user_id
-- events: whole PIVOT
SELECT *
FROM (
    PIVOT (SELECT user_id, kind, value FROM feature_store.events)
    ON kind IN ('view', 'click', 'buy') USING sum(value) GROUP BY user_id
)
