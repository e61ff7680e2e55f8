-- What is asked of jobs, alerts and files to see how old they are: pages of them, the oldest first.

-- name: jobs_upto
-- Those submitted up to a time (?3), after the one with (?1, ?2).
SELECT job, id, kind, status, submitted, status_time, updated, archived_time, pinned
FROM jobs WHERE submitted >= ?1 AND (submitted, job) > (?1, ?2) AND submitted <= ?3
ORDER BY submitted, job LIMIT ?4;

-- name: alerts_upto
SELECT alert, id, kind, state, listed, state_time, updated
FROM alerts WHERE listed >= ?1 AND (listed, alert) > (?1, ?2) AND listed <= ?3
ORDER BY listed, alert LIMIT ?4;

-- name: files_after
-- Paths are numbered in the order in which the log met them; no index has them by age.
SELECT file, path, state, coalesce(first_observed, updated), state_time, updated
FROM files WHERE file > ?1 ORDER BY file LIMIT ?2;

-- name: results_naming
-- The results that name one of the jobs of a JSON array of [hash, id].
SELECT asked.value ->> 1, e.stream
FROM json_each(?) AS asked
CROSS JOIN ties t ON t.hash = asked.value ->> 0 AND t.kind = 'job' AND t.key = asked.value ->> 1
CROSS JOIN entities e ON e.entity = t.entity
WHERE e.stream >= 'result/' AND e.stream < 'result0'
ORDER BY e.stream;
