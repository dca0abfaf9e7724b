-- Sessions: events of one user with less than twelve hours between them.
-- key: user_id
-- events: key user_id
WITH gaps AS (
    SELECT
        user_id,
        event_id,
        ts,
        kind,
        CASE WHEN ts - lag(ts) OVER (PARTITION BY user_id ORDER BY ts, event_id) < INTERVAL 12 HOUR THEN 0 ELSE 1 END
            AS begins
    FROM feature_store.events
), numbered AS (
    SELECT *, sum(begins) OVER (PARTITION BY user_id ORDER BY ts, event_id) AS session
    FROM gaps
)
SELECT
    user_id,
    session,
    min(ts) AS began,
    date_diff('second', min(ts), max(ts)) AS seconds,
    count(*) AS events,
    count(*) FILTER (WHERE kind = 'buy') AS purchases
FROM numbered
GROUP BY user_id, session
