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
                              WHERE e.stream_id = s.stream_id), s.floor)),
       s.floor
FROM streams s WHERE s.application = ? AND s.name = ?;

-- name: find_streams
-- The same for many names of the daemon's own streams: a JSON array.
SELECT s.name, s.stream_id,
       max(s.floor, coalesce((SELECT max(e.version) FROM events e
                              WHERE e.stream_id = s.stream_id), s.floor)),
       s.floor
FROM json_each(?) AS asked CROSS JOIN streams s
WHERE s.application = '' AND s.name = asked.value;

-- name: streams_between
SELECT name FROM streams WHERE application = '' AND name >= ? AND name < ? ORDER BY name LIMIT ?;

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

-- name: drop_offset
DELETE FROM follows WHERE name = ?;

-- name: list_offsets
SELECT name, offset, updated FROM follows
WHERE name > ?2 AND name >= ?1 AND name < ?1 || char(1114111) ORDER BY name LIMIT ?3;

-- name: forget_follows
-- A bounded number at a time.
DELETE FROM follows WHERE name IN (
    SELECT name FROM follows WHERE name >= ? AND name < ? AND updated < ? LIMIT 100
);

-- name: holds_type
SELECT EXISTS (SELECT 1 FROM events WHERE stream_id = ? AND type_id = ?);

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

-- name: raise_counter
UPDATE sqlite_sequence SET seq = ? WHERE name = 'events';

-- name: insert_counter
INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?);

-- name: restored_events
-- The events of a log's own stream that began an epoch, and the position of the event before each.
SELECT e.position, e.data,
       max(coalesce((SELECT max(p.position) FROM events p WHERE p.position < e.position), 0),
           coalesce((SELECT r.last FROM removed_runs r WHERE r.first < e.position
                     ORDER BY r.first DESC LIMIT 1), 0))
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name = ? AND t.name = 'log.restored' AND e.event_key IS NOT NULL
ORDER BY e.version;

-- name: redacted_events
-- What was taken out of events, in order: the payloads of the log's own events about it.
SELECT e.data
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name = ? AND t.name = 'log.redacted' AND e.event_key IS NOT NULL
ORDER BY e.version;

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

-- name: streams_of
-- The daemon's own streams whose names lie between two, by name.
SELECT name FROM streams WHERE application = '' AND name >= ? AND name < ? ORDER BY name;

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

-- name: position_upto
SELECT max(position) FROM events WHERE position <= ?;

-- name: position_after
SELECT position FROM events WHERE position > ? ORDER BY position LIMIT 1;

-- name: version_breaks
-- Where the versions of a stream do not follow one another, or not in the order of positions. Up to
-- the floor versions may be gone: the tombstones of earlier purges stand alone there.
SELECT name, position, before, version FROM (
    SELECT e.stream_id, e.position, e.version,
           lag(e.version) OVER stream AS before, lag(e.position) OVER stream AS earlier
    FROM events e WINDOW stream AS (PARTITION BY e.stream_id ORDER BY e.version)
) JOIN streams s USING (stream_id)
WHERE earlier > position
   OR (s.application = '' AND version <> before + 1 AND version - 1 > s.floor)
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
-- The digest at a position, also at the last of removed ones; before it where the position itself
-- was never used, or lies among removed ones.
SELECT digest FROM (
    SELECT position, digest FROM (SELECT position, digest FROM events WHERE position <= ?1
                                  ORDER BY position DESC LIMIT 1)
    UNION ALL
    SELECT last, digest FROM (SELECT last, digest FROM removed_runs WHERE first <= ?1
                              ORDER BY first DESC LIMIT 1) WHERE last <= ?1
) ORDER BY position DESC LIMIT 1;

-- name: removed_count
SELECT coalesce(sum(last - first + 1), 0) FROM removed_runs;

-- name: run_from
SELECT last, digest FROM removed_runs WHERE first = ?;

-- name: run_before
-- The run that begins before a position, the nearest.
SELECT first, last, digest FROM removed_runs WHERE first < ? ORDER BY first DESC LIMIT 1;

-- name: filled_runs
-- Runs that have an event in them, and the first such event.
SELECT r.first, r.last, e.position FROM removed_runs r CROSS JOIN events e
ON e.position = (SELECT min(position) FROM events WHERE position BETWEEN r.first AND r.last)
LIMIT ?;

-- name: runs_after
SELECT first, last, digest FROM removed_runs WHERE first > ? ORDER BY first LIMIT ?;

-- name: runs_between
SELECT first, last, digest FROM removed_runs WHERE last >= ?1 AND first <= ?2 ORDER BY first;

-- name: insert_run
INSERT INTO removed_runs (first, last, digest) VALUES (?, ?, ?)
ON CONFLICT (first) DO UPDATE SET last = excluded.last, digest = excluded.digest;

-- name: delete_run
DELETE FROM removed_runs WHERE first = ?;

-- name: count_runs
SELECT count(*) FROM removed_runs;

-- name: told_runs
-- How many runs the events say that tell of removals.
SELECT coalesce(sum(json_array_length(CAST(e.data AS TEXT), '$.runs')), 0)
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
WHERE s.application = '' AND s.name = ?;

-- name: untold_runs
-- The runs that no event of the log tells as they are.
SELECT first, last FROM (
    SELECT first, last, lower(hex(digest)) FROM removed_runs
    EXCEPT
    SELECT json_extract(r.value, '$.from'), json_extract(r.value, '$.to'),
           json_extract(r.value, '$.digest')
    FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
    CROSS JOIN json_each(CAST(e.data AS TEXT), '$.runs') r
    WHERE s.application = '' AND s.name = ? AND e.event_key IS NOT NULL
) LIMIT ?;

-- name: ask_removal
-- A later removal goes further; what has to go first is asked for once more.
INSERT INTO removals (stream_id, version, outside) VALUES (?, ?, ?)
ON CONFLICT (stream_id) DO UPDATE SET version = max(version, excluded.version),
                                      outside = max(outside, excluded.outside);

-- name: settle_removal
-- A later marker asks for more, which is not gone yet.
UPDATE removals SET outside = 0
WHERE stream_id = (SELECT stream_id FROM streams WHERE application = '' AND name = ?)
  AND version = ?;

-- name: removed_upto
-- Up to which version the events of a stream are removed, or are to be.
SELECT max(s.floor, coalesce(
    (SELECT r.version FROM removals r WHERE r.stream_id = s.stream_id), 0))
FROM streams s WHERE s.application = '' AND s.name = ?;

-- name: drop_removal
DELETE FROM removals WHERE stream_id = ? AND version <= ?;

-- name: pending_removals
SELECT s.name, r.version, r.outside, r.stream_id, s.floor
FROM removals r CROSS JOIN streams s ON s.stream_id = r.stream_id
WHERE r.outside = ?1 AND r.stream_id > ?2 ORDER BY r.stream_id LIMIT ?3;

-- name: removable_streams
-- The streams whose removal may go on, as everything of it lies before a position. Each one that
-- waits is looked at, so the writer is not to ask this where there may be many.
SELECT r.stream_id FROM removals r
WHERE r.outside = 0 AND coalesce(
    (SELECT e.position FROM events e
     WHERE e.stream_id = r.stream_id AND e.version <= r.version + 1
     ORDER BY e.version DESC LIMIT 1), 0) < ?
ORDER BY r.stream_id LIMIT ?;

-- name: removals_among
-- Of some streams (a JSON array): up to which version events are to go, the version up to which
-- that is done, and the type of the event that stands for them.
SELECT r.stream_id, r.version, s.floor, s.name,
       (SELECT t.name FROM events e CROSS JOIN types t ON t.type_id = e.type_id
        WHERE e.stream_id = r.stream_id AND e.version = r.version + 1)
FROM json_each(?1) AS asked CROSS JOIN removals r ON r.stream_id = asked.value
CROSS JOIN streams s ON s.stream_id = r.stream_id
WHERE r.outside = 0 AND coalesce(
    (SELECT e.position FROM events e
     WHERE e.stream_id = r.stream_id AND e.version <= r.version + 1
     ORDER BY e.version DESC LIMIT 1), 0) < ?2
ORDER BY r.stream_id;

-- name: markers_after
-- The events after a position that may stand for others.
SELECT e.stream_id, e.version, t.name, e.data
FROM events e CROSS JOIN types t ON t.type_id = e.type_id
WHERE e.position > ? AND t.application = ''
  AND t.name IN ('job.archived', 'job.purged', 'alert.purged', 'file.purged', 'result.purged')
ORDER BY e.position;

-- name: count_removals
SELECT count(*), coalesce(sum(outside), 0) FROM removals;

-- name: find_purge
-- The newest purge of a stream whose events are removed, or begin to be: within what is removed, or
-- is to be, or at the end of it. An archive may go on where an earlier purge was not done yet.
SELECT e.position, e.version, e.recordedtime
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.stream_id = ?1
  AND substr(s.name, 1, instr(s.name, '/') - 1) IN ('job', 'alert', 'file', 'result')
  AND e.version <= 1 + max(s.floor, (SELECT coalesce(max(r.version), 0) FROM removals r
                                     WHERE r.stream_id = ?1))
  AND t.name IN ('job.purged', 'alert.purged', 'file.purged', 'result.purged')
  AND json_extract(CAST(e.data AS TEXT), '$.replaces') > 0
ORDER BY e.version DESC LIMIT 1;

-- name: rows_to_remove
-- Of a stream (?1), after a version and up to another; tombstones stay unless they go too (?4).
SELECT e.position, e.version, e.digest, length(e.data), e.event_key
FROM events e CROSS JOIN types t ON t.type_id = e.type_id
WHERE e.stream_id = ?1 AND e.version > ?2 AND e.version <= ?3
  AND (?4 OR t.name NOT IN ('job.purged', 'alert.purged', 'file.purged', 'result.purged'))
ORDER BY e.version LIMIT ?5;

-- name: delete_empty_stream
-- The newest stays, so that no number is given again: segments of a backup go by them.
DELETE FROM streams
WHERE stream_id = ?1 AND stream_id < (SELECT max(stream_id) FROM streams)
  AND NOT EXISTS (SELECT 1 FROM events WHERE stream_id = ?1);

-- name: tombstones_upto
-- The tombstones up to a position, after another one, of streams that wait for nothing.
SELECT e.position, s.name, e.version, t.name, e.data
FROM events e CROSS JOIN types t ON t.type_id = e.type_id
CROSS JOIN streams s ON s.stream_id = e.stream_id
WHERE e.position > ? AND e.position <= ? AND t.application = ''
  AND t.name IN ('job.purged', 'alert.purged', 'file.purged', 'result.purged')
  AND json_extract(CAST(e.data AS TEXT), '$.replaces') > 0
  AND e.stream_id NOT IN (SELECT r.stream_id FROM removals r)
ORDER BY e.position LIMIT ?;

-- name: delete_event
DELETE FROM events WHERE position = ?;

-- name: note_unpacked
INSERT INTO log_meta (key, value) VALUES ('unpacked', ?)
ON CONFLICT (key) DO UPDATE SET value = value + excluded.value;

-- name: rows_to_pack
-- Rows after a position as `insert_event` takes them.
SELECT position, stream_id, version, type_id, class_version, time, recordedtime, source_id, id,
       event_key, extensions, data, payload_hash, digest
FROM events WHERE position > ? ORDER BY position LIMIT ?;

-- name: raise_floor
UPDATE streams SET floor = max(floor, ?) WHERE stream_id = ?;

-- name: find_removed_key
SELECT position, version FROM removed_keys WHERE stream_id = ? AND event_key = ?;

-- name: keep_key
INSERT OR IGNORE INTO removed_keys (stream_id, event_key, position, version) VALUES (?, ?, ?, ?);

-- name: forget_keys
-- Those of later lives stay known.
DELETE FROM removed_keys WHERE stream_id = ? AND version <= ?;

-- name: list_dead_letters
-- The state of a letter is the newest decision about just these bytes.
SELECT * FROM (
    SELECT d.dead_letter_id, d.format, d.origin, d.reason, d.detail, d.kept, d.length, d.sha256,
           d.first_seen, d.last_seen, d.count,
           coalesce((SELECT substr(t.name, length('deadletter.') + 1)
                     FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
                     CROSS JOIN types t ON t.type_id = e.type_id
                     WHERE s.application = '' AND s.name = 'deadletter/' || d.dead_letter_id
                       AND e.event_key IS NOT NULL
                       AND json_extract(CAST(e.data AS TEXT), '$.digest') = lower(hex(d.sha256))
                     ORDER BY e.version DESC LIMIT 1), 'open') AS state
    FROM dead_letters d
)
WHERE dead_letter_id > ?1 AND (?2 IS NULL OR format = ?2) AND (?3 IS NULL OR origin = ?3)
  AND (?4 IS NULL OR reason = ?4) AND (?5 IS NULL OR state = ?5)
ORDER BY dead_letter_id LIMIT ?6;

-- name: count_dead_letters
SELECT format, count(*), sum(count) FROM dead_letters GROUP BY format;
