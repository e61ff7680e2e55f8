-- What is done in a log that was brought back from objects older than what was decided since.

-- name: truncations
SELECT e.data
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name = ? AND t.name = 'log.truncated' AND e.event_key IS NOT NULL
  AND e.position > ?
ORDER BY e.version;

-- name: redactions
SELECT e.position, e.data
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name = ? AND t.name = 'log.redacted' AND e.event_key IS NOT NULL
  AND e.position > ?
ORDER BY e.version;

-- name: event_at
SELECT t.name, e.class_version, e.data FROM events e JOIN types t USING (type_id)
WHERE e.position = ?;

-- name: replace_data
UPDATE events SET data = ? WHERE position = ?;

-- name: rows_within
SELECT e.stream_id, e.version, e.position, e.event_key, s.name
FROM events e JOIN streams s USING (stream_id) WHERE e.position BETWEEN ? AND ?;

-- name: delete_within
DELETE FROM events WHERE position BETWEEN ? AND ?;

-- name: all_runs
SELECT first, last, digest FROM removed_runs;

-- name: delete_runs
DELETE FROM removed_runs;

-- name: forget_done_removals
DELETE FROM removals WHERE NOT EXISTS (
    SELECT 1 FROM events e JOIN types t USING (type_id)
    WHERE e.stream_id = removals.stream_id AND e.version <= removals.version
      AND t.name NOT IN ('job.purged', 'alert.purged', 'file.purged', 'result.purged')
);

-- name: forget_purged_keys
DELETE FROM removed_keys WHERE EXISTS (
    SELECT 1 FROM events e JOIN types t USING (type_id)
    WHERE e.stream_id = removed_keys.stream_id AND e.version > removed_keys.version
      AND t.name IN ('job.purged', 'alert.purged', 'file.purged', 'result.purged')
);

-- name: forget_streams
-- Of an entity nothing but what stands for it can be all that is left; where there is not even
-- that, it was forgotten. The newest stream stays, so that no number is given again.
DELETE FROM streams
WHERE application = '' AND stream_id NOT IN (SELECT stream_id FROM events)
  AND stream_id < (SELECT max(stream_id) FROM streams)
  AND substr(name, 1, instr(name, '/') - 1) NOT IN ('maintenance', 'backup', 'log');
DELETE FROM removed_keys WHERE stream_id NOT IN (SELECT stream_id FROM events);

-- name: has_runs
SELECT EXISTS (SELECT 1 FROM removed_runs);

-- name: settle_floors
-- Up to where versions of each stream are gone, as its events say: segments may come from before
-- and from after a removal.
UPDATE streams SET floor = told.floor
FROM (SELECT stream_id,
             max(CASE WHEN version <> before + 1 THEN version - 1 ELSE 0 END) AS floor
      FROM (SELECT stream_id, version, lag(version, 1, 0) OVER stream AS before FROM events
            WINDOW stream AS (PARTITION BY stream_id ORDER BY version))
      GROUP BY stream_id) AS told
WHERE told.stream_id = streams.stream_id AND streams.application = ''
  AND streams.floor <> told.floor;

-- name: settled
DELETE FROM log_meta WHERE key = ?;
