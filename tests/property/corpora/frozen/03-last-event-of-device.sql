-- What each device did last.
-- key: device_id
-- events: key device_id
SELECT device_id, user_id, kind, ts
FROM feature_store.events
QUALIFY row_number() OVER (PARTITION BY device_id ORDER BY ts DESC, event_id DESC) = 1
