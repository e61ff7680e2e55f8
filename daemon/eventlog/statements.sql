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

-- name: last_stream
SELECT max(stream_id) FROM streams;

-- name: events_of_streams
-- All of some streams, one stream after the other; the names are unique, so their index must not
-- lead.
SELECT e.position, s.name, e.version, e.type_id, e.time, e.recordedtime, e.source_id, e.id,
       e.data, e.extensions, e.class_version
FROM streams s NOT INDEXED CROSS JOIN events e ON e.stream_id = s.stream_id
WHERE s.stream_id > ? AND s.stream_id <= ? AND s.application = '' AND e.event_key IS NOT NULL
  AND e.position <= ?
ORDER BY s.stream_id, e.version;

-- name: rows_after
-- Every row as the chain covers it, with the digest before it checked by the caller.
SELECT e.position, s.application, s.name, e.version, t.name, e.class_version, e.time,
       e.recordedtime, o.name, e.id, e.extensions, e.data, e.payload_hash, e.digest, e.event_key
FROM events e
LEFT JOIN streams s ON s.stream_id = e.stream_id
LEFT JOIN types t ON t.type_id = e.type_id
LEFT JOIN sources o ON o.source_id = e.source_id
WHERE e.position > ? ORDER BY e.position LIMIT ?;

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
