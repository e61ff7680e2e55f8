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
SELECT max(seq) FROM sqlite_sequence WHERE name = 'events';

-- name: repeated_counters
SELECT name, count(*) FROM sqlite_sequence GROUP BY name HAVING count(*) > 1;

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
-- Every row as it is stored; names are looked up apart, because they repeat.
SELECT position, stream_id, version, type_id, class_version, time, recordedtime, source_id, id,
       extensions, data, payload_hash, digest, event_key
FROM events WHERE position > ? ORDER BY position LIMIT ?;

-- name: row_at
SELECT position, stream_id, version, type_id, class_version, time, recordedtime, source_id, id,
       extensions, data, payload_hash, digest, event_key
FROM events WHERE position = ?;

-- name: position_after
SELECT position FROM events WHERE position > ? ORDER BY position LIMIT 1;

-- name: version_breaks
-- Where the versions of a stream do not follow one another, or not in the order of positions.
SELECT name, position, before, version FROM (
    SELECT e.stream_id, e.position, e.version,
           lag(e.version) OVER stream AS before, lag(e.position) OVER stream AS earlier
    FROM events e WINDOW stream AS (PARTITION BY e.stream_id ORDER BY e.version)
) JOIN streams s USING (stream_id)
WHERE earlier > position OR (s.application = '' AND version <> before + 1)
LIMIT ?;

-- name: named_rows_after
-- Every row as the chain covers it, its names looked up.
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
-- Streams of the daemon that do not begin after their floor, or whose floor cannot be, or is not
-- accounted for by any event.
SELECT s.name, s.floor, min(e.version), max(e.version), min(e.position)
FROM streams s LEFT JOIN events e ON e.stream_id = s.stream_id
GROUP BY s.stream_id
HAVING s.floor < 0 OR (s.floor = 0 AND count(e.position) = 0)
    OR (s.application = '' AND (min(e.version) > s.floor + 1 OR max(e.version) < s.floor))
LIMIT ?;

-- name: repeated_keys
SELECT s.name, count(*), max(e.position)
FROM events e JOIN streams s ON s.stream_id = e.stream_id
WHERE e.event_key IS NOT NULL GROUP BY e.stream_id, e.event_key HAVING count(*) > 1 LIMIT ?;

-- name: counters
SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events'), (SELECT max(position) FROM events),
       (SELECT seq FROM sqlite_sequence WHERE name = 'dead_letters'),
       (SELECT max(dead_letter_id) FROM dead_letters);

-- name: newest_position
SELECT max(position) FROM events;

-- name: event_counts
SELECT count(*), min(position), max(position) FROM events;

-- name: dead_letter_totals
SELECT count(*), coalesce(sum(count), 0) FROM dead_letters;

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
