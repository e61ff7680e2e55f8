-- The jobs of a page as they are shown.

-- name: show_jobs
-- Of the numbers in a JSON array, in their order. The columns are the fields of a job's view, as
-- far as those are stored.
SELECT job, id, kind, name, owner, queue, priority, workflow, phase, parent, correlation, status,
       native_status, stage, progress, attempt, attempts, worker, params, input, result, message,
       warning, error, next, links, submitted, started, status_time, updated, last_position,
       events, pinned, pinned_time, archived_time
FROM (SELECT value AS number FROM json_each(?))
CROSS JOIN jobs ON job = number
LEFT JOIN job_documents USING (job);
