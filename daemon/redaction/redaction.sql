-- The statements of redaction. Each is named by the comment line above it.

-- name: find_event
SELECT s.stream_id, s.application, s.name, e.version, t.name, e.class_version, e.data, e.event_key
FROM events e JOIN streams s USING (stream_id) JOIN types t ON t.type_id = e.type_id
WHERE e.position = ?;

-- name: find_positions
-- Events of a source with an id, between two positions: the id has no index over the whole log.
SELECT e.position FROM events e JOIN sources o USING (source_id)
WHERE e.position > ? AND e.position <= ? AND e.id = ? AND o.name = ? AND e.event_key IS NOT NULL
ORDER BY e.position;

-- name: markers_after
-- Events of a stream, after a version, that may stand for those before them.
SELECT t.name, e.data FROM events e JOIN types t USING (type_id)
WHERE e.stream_id = ? AND e.version > ? AND t.name IN (SELECT value FROM json_each(?));

-- name: replace_data
UPDATE events SET data = ? WHERE position = ?;

-- name: letters_with
-- Dead letters in which a text stands; the newest first.
SELECT dead_letter_id FROM dead_letters WHERE instr(kept, CAST(? AS BLOB)) > 0
ORDER BY dead_letter_id DESC LIMIT ?;

-- name: settle
DELETE FROM log_meta WHERE key = ? AND value <= ?;

-- name: left_tables
-- Tables of the views that were replaced, and are not dropped yet.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name GLOB 'g[0-9]*_*');
