-- Jobs as their workflow sees them.

-- name: flow_jobs
-- Of the numbers in a JSON array, those of a workflow.
SELECT job, id, kind, phase, workflow, correlation, status, native_status, status_time, submitted
FROM (SELECT value AS number FROM json_each(?)) CROSS JOIN jobs ON job = number
WHERE workflow IS NOT NULL;

-- name: run_before
SELECT * FROM (
    SELECT job, id, kind, phase, workflow, correlation, status, native_status, status_time,
           submitted
    FROM jobs WHERE correlation = ? AND submitted <= ? ORDER BY submitted DESC LIMIT ?)
WHERE workflow = ?;

-- name: run_after
SELECT * FROM (
    SELECT job, id, kind, phase, workflow, correlation, status, native_status, status_time,
           submitted
    FROM jobs WHERE correlation = ? AND submitted >= ? ORDER BY submitted LIMIT ?)
WHERE workflow = ?;

-- name: flow_after
SELECT job, id, kind, phase, workflow, correlation, status, native_status, status_time, submitted
FROM jobs
WHERE workflow = ? AND submitted >= ? AND (submitted, job) > (?, ?) AND job < ?
ORDER BY submitted, job LIMIT ?;
