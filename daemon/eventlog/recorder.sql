-- The statements of the `eventsourcing` recorders. Each is named by the comment line above it.

-- name: select_events
-- The caller adds the direction and the limit.
SELECT e.version, t.name, e.data
FROM streams s
CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = ? AND s.name = ? AND e.version > ? AND e.version <= ?
ORDER BY e.version;

-- name: topics
SELECT type_id, name FROM types WHERE application = ?;

-- name: is_alone
-- Whether the log holds this application's events only.
SELECT NOT EXISTS (SELECT 1 FROM types WHERE application <> ?);

-- name: notifications
-- The third parameter is a JSON array of the types wanted, NULL for every event of the log.
SELECT e.position, s.name, e.version, e.type_id, e.data
FROM events e CROSS JOIN streams s ON s.stream_id = e.stream_id
WHERE e.position > ?1 AND e.position <= ?2
  AND (?3 IS NULL OR e.type_id IN (SELECT value FROM json_each(?3)))
ORDER BY e.position LIMIT ?4;

-- name: newest_notification
SELECT position FROM events
WHERE ?1 IS NULL OR type_id IN (SELECT value FROM json_each(?1))
ORDER BY position DESC LIMIT 1;

-- name: insert_snapshot
INSERT INTO snapshots (application, purpose, originator_id, originator_version, topic, state)
VALUES (?, ?, ?, ?, ?, ?);

-- name: select_snapshots
-- The caller adds the direction and the limit.
SELECT originator_version, topic, state FROM snapshots
WHERE application = ? AND purpose = ? AND originator_id = ?
  AND originator_version > ? AND originator_version <= ?
ORDER BY originator_version;

-- name: set_tracking
-- Changes nothing where the notification is not newer.
INSERT INTO tracking (application, upstream, notification_id) VALUES (?, ?, ?)
ON CONFLICT (application, upstream) DO UPDATE SET notification_id = excluded.notification_id
WHERE notification_id < excluded.notification_id;

-- name: find_tracking
SELECT notification_id FROM tracking WHERE application = ? AND upstream = ?;
