-- What a removal of events concerns. What an earlier marker stands for is counted with that one,
-- whether it is gone yet or not; tombstones stay, and are not counted.

-- name: last_marker
-- The version of the newest event of a stream that stands for those before it.
SELECT coalesce(max(e.version), 0)
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name = ?
  AND t.name IN ('job.archived', 'job.purged', 'alert.purged', 'file.purged', 'result.purged')
  AND json_extract(CAST(e.data AS TEXT), '$.replaces') > 0;

-- name: stream_size
-- How many events of a stream can go, from a version on, their bytes, and its newest version.
SELECT count(*) FILTER (WHERE e.version >= ?2 AND t.name NOT LIKE '%.purged'),
       coalesce(sum(length(e.data)) FILTER (WHERE e.version >= ?2 AND t.name NOT LIKE '%.purged'),
                0),
       coalesce(max(e.version), 0)
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name = ?1;

-- name: stream_rows
-- The digests and sizes of the rows between two versions that go with a purge, in order of version.
SELECT e.digest, length(e.data)
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name = ?1 AND e.version >= ?2 AND e.version <= ?3
  AND t.name NOT LIKE '%.purged'
ORDER BY e.version;

-- name: stream_aged
-- How many events of a stream were recorded up to a time, their bytes, and the version of the
-- newest of them; of the newest (?3) events none is among them.
SELECT count(*), coalesce(sum(length(data)), 0), coalesce(max(version), 0), max(recordedtime)
FROM (
    SELECT e.version, e.data, e.recordedtime
    FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
    WHERE s.application = '' AND s.name = ?1 AND e.recordedtime <= ?2
      AND e.version <= (SELECT max(n.version) FROM events n WHERE n.stream_id = s.stream_id) - ?3);

-- name: is_purged
-- Whether the newest event of a stream says that its entity is gone.
SELECT coalesce((
    SELECT t.name LIKE '%.purged' AND json_extract(CAST(e.data AS TEXT), '$.replaces') > 0
    FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
    CROSS JOIN types t ON t.type_id = e.type_id
    WHERE s.application = '' AND s.name = ? ORDER BY e.version DESC LIMIT 1), 0);

-- name: results_of
-- What the results' events of a stream say about whose they are: each answer once.
SELECT DISTINCT json_extract(CAST(e.data AS TEXT), '$.job')
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
WHERE s.application = '' AND s.name = ?;
