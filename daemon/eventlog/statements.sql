-- The statements of the writer. Each is named by the comment line above it.

-- name: insert_stream
INSERT INTO streams (stream_id, application, name) VALUES (?, ?, ?);

-- name: insert_type
INSERT INTO types (type_id, application, name) VALUES (?, ?, ?);

-- name: insert_source
INSERT INTO sources (source_id, name) VALUES (?, ?);

-- name: insert_event
INSERT INTO events (position, stream_id, version, type_id, class_version, time, recordedtime,
                    source_id, id, event_key, extensions, data, payload_hash, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: find_stream
-- The version of a stream is that of its newest event, or the floor when all were removed.
SELECT s.stream_id,
       max(s.floor, coalesce((SELECT max(e.version) FROM events e
                              WHERE e.stream_id = s.stream_id), s.floor))
FROM streams s WHERE s.application = ? AND s.name = ?;

-- name: find_streams
-- The same for many names of the daemon's own streams: a JSON array.
SELECT s.name, s.stream_id,
       max(s.floor, coalesce((SELECT max(e.version) FROM events e
                              WHERE e.stream_id = s.stream_id), s.floor))
FROM json_each(?) AS asked CROSS JOIN streams s
WHERE s.application = '' AND s.name = asked.value;

-- name: find_type
SELECT type_id FROM types WHERE application = ? AND name = ?;

-- name: find_source
SELECT source_id FROM sources WHERE name = ?;

-- name: find_key
SELECT position, version, payload_hash, type_id FROM events
WHERE stream_id = ? AND event_key = ?;

-- name: insert_dead_letter
INSERT INTO dead_letters (digest, format, origin, reason, detail, kept, length, sha256,
                          first_seen, last_seen, count)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (digest) DO UPDATE SET count = count + 1, last_seen = excluded.last_seen;

-- name: find_offset
SELECT offset FROM follows WHERE name = ?;

-- name: set_offset
INSERT INTO follows (name, offset, updated) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET offset = max(offset, excluded.offset), updated = excluded.updated;

-- name: newest_event
SELECT position, digest, recordedtime FROM events ORDER BY position DESC LIMIT 1;

-- name: set_meta
INSERT INTO log_meta (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: oldest_event
SELECT min(position) FROM events;

-- name: recorded_before
SELECT recordedtime FROM events WHERE position <= ? ORDER BY position DESC LIMIT 1;

-- name: last_used_position
SELECT seq FROM sqlite_sequence WHERE name = 'events';

-- name: probe
INSERT INTO log_meta (key, value) VALUES ('probe', ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: events_after
-- The daemon's own events in log order: those with a key. (An application of the library without a
-- name has rows beside them that mean nothing to the daemon.)
SELECT e.position, s.name, e.version, e.type_id, e.time, e.recordedtime, e.source_id, e.id,
       e.data, e.extensions, e.class_version
FROM events e CROSS JOIN streams s ON s.stream_id = e.stream_id
WHERE e.position > ? AND s.application = '' AND e.event_key IS NOT NULL
ORDER BY e.position LIMIT ?;

-- name: events_of_stream
SELECT e.position, s.name, e.version, e.type_id, e.time, e.recordedtime, e.source_id, e.id,
       e.data, e.extensions, e.class_version
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
WHERE s.application = '' AND s.name = ? AND e.event_key IS NOT NULL
  AND e.version > ? AND e.position <= ?
ORDER BY e.version LIMIT ?;

-- name: streams_met
-- Streams of a category in the order of their first own event after a position (?3), of those
-- events that lie between two others: an earlier event of the stream is at or before it.
SELECT e.position, s.name
FROM events e CROSS JOIN streams s ON s.stream_id = e.stream_id
WHERE e.position > ?1 AND e.position <= ?2 AND e.event_key IS NOT NULL
  AND s.application = '' AND substr(s.name, 1, length(?4)) = ?4
  AND coalesce((SELECT p.position FROM events p
                WHERE p.stream_id = e.stream_id AND p.version < e.version
                  AND p.event_key IS NOT NULL
                ORDER BY p.version DESC LIMIT 1), 0) <= ?3
ORDER BY e.position LIMIT ?5;

-- name: find_ids
-- Own events between two positions with one of the ids of a JSON array, the newest first.
SELECT e.position, s.name, e.id
FROM events e CROSS JOIN streams s ON s.stream_id = e.stream_id
WHERE e.position > ? AND e.position < ? AND e.event_key IS NOT NULL AND s.application = ''
  AND e.id IN (SELECT value FROM json_each(?))
ORDER BY e.position DESC LIMIT ?;

-- name: rows_after
-- Every row as the chain covers it, with the digest before it checked by the caller.
SELECT e.position, s.application, s.name, e.version, t.name, e.class_version, e.time,
       e.recordedtime, o.name, e.id, e.extensions, e.data, e.payload_hash, e.digest, e.event_key
FROM events e
LEFT JOIN streams s ON s.stream_id = e.stream_id
LEFT JOIN types t ON t.type_id = e.type_id
LEFT JOIN sources o ON o.source_id = e.source_id
WHERE e.position > ? ORDER BY e.position LIMIT ?;

-- name: rows_of_stream
-- The same of one stream.
SELECT e.position, s.application, s.name, e.version, t.name, e.class_version, e.time,
       e.recordedtime, o.name, e.id, e.extensions, e.data, e.payload_hash, e.digest, e.event_key
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
LEFT JOIN types t ON t.type_id = e.type_id
LEFT JOIN sources o ON o.source_id = e.source_id
WHERE e.position > ? AND s.application = '' AND s.name = ? AND e.version > ?
ORDER BY e.version LIMIT ?;

-- name: find_meta
SELECT value FROM log_meta WHERE key = ?;

-- name: broken_streams
-- Streams of the daemon whose versions are not contiguous from the floor on.
SELECT s.name, count(*), min(e.version), max(e.version), s.floor
FROM events e JOIN streams s ON s.stream_id = e.stream_id
WHERE s.application = ''
GROUP BY e.stream_id
HAVING max(e.version) - min(e.version) + 1 <> count(*) OR min(e.version) > s.floor + 1
LIMIT 100;

-- name: recorded_at
SELECT recordedtime FROM events WHERE position >= ? ORDER BY position LIMIT 1;

-- name: digest_at
-- The digest at a position, or before it where the position itself was never used or removed.
SELECT digest FROM events WHERE position <= ? ORDER BY position DESC LIMIT 1;

-- name: list_dead_letters
SELECT dead_letter_id, format, origin, reason, detail, kept, length, sha256, first_seen,
       last_seen, count
FROM dead_letters
WHERE dead_letter_id > ? AND (?2 IS NULL OR format = ?2)
ORDER BY dead_letter_id LIMIT ?3;

-- name: count_dead_letters
SELECT format, count(*), sum(count) FROM dead_letters GROUP BY format;
