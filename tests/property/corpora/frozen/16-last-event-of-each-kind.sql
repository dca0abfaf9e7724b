-- The last event of each kind.
-- key: user_id
-- events: key user_id
SELECT DISTINCT ON (e.user_id, e.kind) e.user_id, e.kind, e.value, e.ts
FROM feature_store.events e
ORDER BY e.user_id, e.kind, e.ts DESC, e.event_id DESC
