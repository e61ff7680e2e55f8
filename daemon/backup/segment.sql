-- What a segment holds, and how it is filled from a log that is attached as `log`.

-- name: schema
-- Rows as in the log, without what follows from the rest of a row: its key, the digest of the chain
-- and the hash of the payload, unless that is no longer the payload's.
CREATE TABLE events (
    position      INTEGER PRIMARY KEY,
    stream_id     INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    type_id       INTEGER NOT NULL,
    class_version INTEGER NOT NULL,
    time          INTEGER NOT NULL,
    recordedtime  INTEGER NOT NULL,
    source_id     INTEGER,
    id            TEXT,
    extensions    TEXT,
    data          BLOB NOT NULL,
    payload_hash  BLOB
) STRICT;
CREATE TABLE streams (
    stream_id INTEGER PRIMARY KEY, application TEXT NOT NULL, name TEXT NOT NULL,
    floor INTEGER NOT NULL
) STRICT;
CREATE TABLE types (
    type_id INTEGER PRIMARY KEY, application TEXT NOT NULL, name TEXT NOT NULL
) STRICT;
CREATE TABLE sources (source_id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE TABLE removed_runs (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, digest BLOB NOT NULL
) STRICT;
CREATE TABLE removed_keys (
    stream_id INTEGER NOT NULL, event_key BLOB NOT NULL, position INTEGER NOT NULL,
    version INTEGER NOT NULL, PRIMARY KEY (stream_id, event_key)
) STRICT, WITHOUT ROWID;
CREATE TABLE follows (
    name TEXT PRIMARY KEY, offset INTEGER NOT NULL, updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tracking (
    application TEXT NOT NULL, upstream TEXT NOT NULL, notification_id INTEGER NOT NULL,
    PRIMARY KEY (application, upstream)
) STRICT, WITHOUT ROWID;

-- name: letters_schema
CREATE TABLE dead_letters (
    dead_letter_id INTEGER PRIMARY KEY, digest BLOB NOT NULL, format TEXT NOT NULL,
    origin TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, kept BLOB NOT NULL,
    length INTEGER NOT NULL, sha256 BLOB NOT NULL, first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL, count INTEGER NOT NULL
) STRICT;

-- name: sizes_after
SELECT position, length(data) + coalesce(length(extensions), 0) FROM log.events
WHERE position > ? AND position <= ? ORDER BY position LIMIT ?;

-- name: fill_events
INSERT INTO main.events
SELECT position, stream_id, version, type_id, class_version, time, recordedtime, source_id, id,
       extensions, data, nullif(payload_hash, sha256(data))
FROM log.events WHERE position > ? AND position <= ?;

-- name: fill_runs
-- The stretches without events that the positions reach into, with the digest at the end of each.
INSERT INTO main.removed_runs
SELECT first, last, digest FROM log.removed_runs WHERE last > ?1 AND first <= ?2;

-- name: fill_keys
-- The keys of what was removed there; there is no index by position, so only where runs are.
INSERT INTO main.removed_keys
SELECT stream_id, event_key, position, version FROM log.removed_keys
WHERE position > ?1 AND position <= ?2 AND EXISTS (SELECT 1 FROM main.removed_runs);

-- name: fill_names
INSERT INTO main.streams SELECT stream_id, application, name, floor FROM log.streams
WHERE stream_id IN (SELECT stream_id FROM main.events
                    UNION SELECT stream_id FROM main.removed_keys);
INSERT INTO main.types SELECT type_id, application, name FROM log.types
WHERE type_id IN (SELECT type_id FROM main.events);
INSERT INTO main.sources SELECT source_id, name FROM log.sources
WHERE source_id IN (SELECT source_id FROM main.events);

-- name: fill_places
-- How far files were followed and applications have tracked, as of the newest event.
INSERT INTO main.follows SELECT name, offset, updated FROM log.follows;
INSERT INTO main.tracking SELECT application, upstream, notification_id FROM log.tracking;

-- name: counted
SELECT count(*), min(recordedtime), max(recordedtime) FROM main.events;

-- name: log_digest
-- The digest at an event, or at the end of a stretch without events.
SELECT digest FROM log.events WHERE position = ?1
UNION ALL SELECT digest FROM log.removed_runs WHERE last = ?1;

-- name: log_digest_before
SELECT digest FROM (
    SELECT position AS at, digest FROM (SELECT position, digest FROM log.events
                                        WHERE position < ?1 ORDER BY position DESC LIMIT 1)
    UNION ALL
    SELECT last, digest FROM (SELECT last, digest FROM log.removed_runs WHERE last < ?1
                              ORDER BY first DESC LIMIT 1)
) ORDER BY at DESC LIMIT 1;

-- name: is_within_run
-- Whether a position is in a stretch without events, before its end: its digest is not known.
SELECT EXISTS (SELECT 1 FROM log.removed_runs WHERE first <= ?1 AND last > ?1);

-- name: log_head
SELECT max(position) FROM log.events;

-- name: letter_sizes
SELECT dead_letter_id, length(kept) FROM log.dead_letters
WHERE dead_letter_id > ? ORDER BY dead_letter_id LIMIT ?;

-- name: fill_letters
INSERT INTO main.dead_letters
SELECT dead_letter_id, digest, format, origin, reason, detail, kept, length, sha256, first_seen,
       last_seen, count
FROM log.dead_letters WHERE dead_letter_id > ? AND dead_letter_id <= ?;

-- name: merge
-- Takes over what a later segment holds, attached as `other`.
INSERT INTO main.events SELECT * FROM other.events;
INSERT OR REPLACE INTO main.streams SELECT * FROM other.streams;
INSERT OR REPLACE INTO main.types SELECT * FROM other.types;
INSERT OR REPLACE INTO main.sources SELECT * FROM other.sources;
INSERT OR REPLACE INTO main.removed_runs SELECT * FROM other.removed_runs;
INSERT OR REPLACE INTO main.removed_keys SELECT * FROM other.removed_keys;
INSERT OR REPLACE INTO main.follows SELECT * FROM other.follows;
INSERT OR REPLACE INTO main.tracking SELECT * FROM other.tracking;

-- name: complete
-- Segments of earlier releases lack what was removed: nothing was.
CREATE TABLE IF NOT EXISTS ${schema}.removed_runs (
    first INTEGER PRIMARY KEY, last INTEGER NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS ${schema}.removed_keys (
    stream_id INTEGER, event_key BLOB, position INTEGER, version INTEGER
);

-- name: foreign_parts
-- What is no table in an attached database, and columns that are computed.
SELECT (SELECT count(*) FROM pragma_table_list WHERE schema = ?1 AND type <> 'table')
     + (SELECT count(*) FROM pragma_table_list t, pragma_table_xinfo(t.name, t.schema) c
        WHERE t.schema = ?1 AND c.hidden <> 0);

-- name: rows
SELECT position, stream_id, version, type_id, class_version, time, recordedtime, source_id, id,
       extensions, data, payload_hash
FROM segment.events WHERE position > ? ORDER BY position;

-- name: runs
SELECT first, last, digest FROM segment.removed_runs WHERE last > ? ORDER BY last;

-- name: free_purged_key
-- Leave an event without its key that a purge of its stream stands for.
UPDATE main.events SET event_key = NULL
WHERE stream_id = ?1 AND event_key = ?2
  AND version <= (SELECT max(json_extract(CAST(e.data AS TEXT), '$.replaces'))
                  FROM main.events e JOIN main.types t USING (type_id)
                  WHERE e.stream_id = ?1 AND t.application = ''
                    AND t.name IN ('job.purged', 'alert.purged', 'file.purged', 'result.purged'))
RETURNING position;

-- name: event_is_there
SELECT 1 FROM main.events WHERE position = ?;

-- name: take_run
INSERT INTO main.removed_runs (first, last, digest) VALUES (?, ?, ?)
ON CONFLICT (first) DO UPDATE SET last = excluded.last, digest = excluded.digest
WHERE last < excluded.last;

-- name: run_over
-- Where the stretch begins that a position is within, before its end.
SELECT first FROM segment.removed_runs WHERE first <= ?1 AND last > ?1;

-- name: take_keys
INSERT OR IGNORE INTO main.removed_keys (stream_id, event_key, position, version)
SELECT stream_id, event_key, position, version FROM segment.removed_keys
WHERE position > ? AND position <= ?;

-- name: named_streams
SELECT stream_id, application, name FROM segment.streams;

-- name: named_types
SELECT type_id, name FROM segment.types;

-- name: named_sources
SELECT source_id, name FROM segment.sources;

-- name: rename_forgotten
-- A stream that was forgotten, and then began anew, has another number since. What is left here of
-- the one before it goes when the log is settled.
UPDATE main.streams SET name = name || char(0) || stream_id
WHERE stream_id IN (SELECT m.stream_id FROM main.streams m JOIN segment.streams s
                    ON m.application = s.application AND m.name = s.name
                    WHERE m.application = '' AND m.stream_id < s.stream_id
                      AND s.stream_id IN (SELECT stream_id FROM segment.events
                                          WHERE position > ? AND position <= ?));

-- name: take_names
-- Those of events after a position and up to another. A number that has a name already keeps it;
-- another name with that number is found afterwards.
INSERT INTO main.streams (stream_id, application, name, floor)
SELECT stream_id, application, name, floor FROM segment.streams
WHERE stream_id IN (SELECT stream_id FROM segment.events WHERE position > ? AND position <= ?
                    UNION
                    SELECT stream_id FROM segment.removed_keys WHERE position > ? AND position <= ?)
ON CONFLICT (stream_id) DO UPDATE SET floor = max(floor, excluded.floor);
INSERT INTO main.types (type_id, application, name)
SELECT type_id, application, name FROM segment.types
WHERE type_id IN (SELECT type_id FROM segment.events WHERE position > ? AND position <= ?)
ON CONFLICT (type_id) DO NOTHING;
INSERT INTO main.sources (source_id, name) SELECT source_id, name FROM segment.sources
WHERE source_id IN (SELECT source_id FROM segment.events WHERE position > ? AND position <= ?)
ON CONFLICT (source_id) DO NOTHING;

-- name: other_names
SELECT (SELECT count(*) FROM segment.streams s JOIN main.streams m USING (stream_id)
        WHERE (m.application, m.name) IS NOT (s.application, s.name))
     + (SELECT count(*) FROM segment.types s JOIN main.types m USING (type_id)
        WHERE (m.application, m.name) IS NOT (s.application, s.name))
     + (SELECT count(*) FROM segment.sources s JOIN main.sources m USING (source_id)
        WHERE m.name IS NOT s.name);

-- name: take_places
-- They only ever rise, so an older segment takes nothing back.
INSERT INTO main.follows (name, offset, updated)
SELECT name, offset, updated FROM segment.follows WHERE true
ON CONFLICT (name) DO UPDATE SET offset = excluded.offset, updated = excluded.updated
WHERE offset < excluded.offset;
INSERT INTO main.tracking (application, upstream, notification_id)
SELECT application, upstream, notification_id FROM segment.tracking WHERE true
ON CONFLICT (application, upstream) DO UPDATE SET notification_id = excluded.notification_id
WHERE notification_id < excluded.notification_id;

-- name: take_letters
INSERT OR REPLACE INTO main.dead_letters
    (dead_letter_id, digest, format, origin, reason, detail, kept, length, sha256, first_seen,
     last_seen, count)
SELECT dead_letter_id, digest, format, origin, reason, detail, kept, length, sha256, first_seen,
       last_seen, count
FROM segment.dead_letters;
