-- The jobs that are tasks of flowlord, as its own list filters them. What else is shown of one is
-- in `jobs`. Times are microseconds since 1970-01-01T00:00:00Z.

-- name: schema
-- `run` is the id in the messages, which all tasks of a run have. `result` is the producer's word,
-- empty while there is none. `meta` is the text of the message that comes last in the life of a
-- task, by (`meta_rank`, `meta_time`). `told` is JSON: times of messages that are no times of ours,
-- and of an archived task the parameters that the list shows.
CREATE TABLE ${g}tasks (
    job       INTEGER PRIMARY KEY,
    created   INTEGER NOT NULL,
    type      TEXT,
    name      TEXT,
    run       TEXT,
    result    TEXT NOT NULL,
    meta      TEXT NOT NULL,
    told      TEXT NOT NULL,
    meta_rank INTEGER NOT NULL,
    meta_time INTEGER NOT NULL
) STRICT;
CREATE INDEX ${g}tasks_by_created ON ${g}tasks (created);
CREATE INDEX ${g}tasks_by_type ON ${g}tasks (type, created);
CREATE INDEX ${g}tasks_by_name ON ${g}tasks (name, created);
CREATE INDEX ${g}tasks_by_run ON ${g}tasks (run, created);
CREATE INDEX ${g}tasks_by_result ON ${g}tasks (result, created);

-- name: insert_task
INSERT INTO ${g}tasks (created, type, name, run, result, meta, told, meta_rank, meta_time, job)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_task
-- Of a task that is known; another job has no row.
UPDATE ${g}tasks SET created = ?, type = ?, name = ?, run = ?, result = ? WHERE job = ?;

-- name: tell_task
-- What a message says, unless a later one in the life of the task was there before it.
UPDATE ${g}tasks SET meta = ?1, told = ?2, meta_rank = ?3, meta_time = ?4
WHERE job = ?5 AND (meta_rank, meta_time) <= (?3, ?4);

-- name: delete_task
DELETE FROM ${g}tasks WHERE job = ?;

-- name: show_tasks
-- Of the numbers in a JSON array, in their order.
SELECT t.job, id, type, t.name, run, t.result, meta, told, phase, workflow, attempt, params,
       message, warning, error, status, t.created, started, status_time
FROM (SELECT value AS number FROM json_each(?))
CROSS JOIN tasks AS t ON t.job = number
CROSS JOIN jobs ON jobs.job = number
LEFT JOIN job_documents AS d ON d.job = number;
