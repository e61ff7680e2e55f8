-- What the backup asks of a log.

-- name: digest_exactly_at
-- At an event, or at the end of a stretch without events.
SELECT digest FROM events WHERE position = ?1
UNION ALL SELECT digest FROM removed_runs WHERE last = ?1;

-- name: is_removed
SELECT EXISTS (SELECT 1 FROM removed_runs WHERE first <= ?1 AND last >= ?1);

-- name: decisions
SELECT e.position, e.recordedtime, e.data
FROM streams s CROSS JOIN events e ON e.stream_id = s.stream_id
CROSS JOIN types t ON t.type_id = e.type_id
WHERE s.application = '' AND s.name IN (?, ?) AND t.name IN ('log.redacted', 'log.truncated')
  AND e.event_key IS NOT NULL
ORDER BY e.position;

-- name: count_between
SELECT count(*) FROM events WHERE position BETWEEN ? AND ?;
