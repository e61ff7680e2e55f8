-- What happened to each job, an entry an event. Times are microseconds since 1970-01-01T00:00:00Z.

-- name: schema
-- `job` is the job's number; `rank` orders entries of one time.
CREATE TABLE ${g}job_history (
    position     INTEGER PRIMARY KEY,
    version      INTEGER NOT NULL,
    type         TEXT NOT NULL,
    time         INTEGER NOT NULL,
    recordedtime INTEGER NOT NULL,
    from_status  TEXT,
    to_status    TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    stage        TEXT,
    percent      INTEGER,
    source       TEXT NOT NULL,
    actor        TEXT,
    message      TEXT,
    late         INTEGER NOT NULL,
    skewed       INTEGER NOT NULL,
    job          INTEGER NOT NULL,
    rank         INTEGER NOT NULL
) STRICT;
CREATE INDEX ${g}job_history_by_job ON ${g}job_history (job, time, rank);

-- Of progress, the first entry of each whole percent of a stage of an attempt is kept.
CREATE UNIQUE INDEX ${g}job_history_progress
    ON ${g}job_history (job, attempt, ifnull(stage, ''), ifnull(percent, -1))
    WHERE type = 'job.progressed';

-- name: insert_entry
-- In the order of the columns. A conflict is a percent of progress that is there already.
INSERT INTO ${g}job_history
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: insert_new_entry
-- The same where the caller knows that there is no conflict.
INSERT INTO ${g}job_history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: delete_entries
DELETE FROM ${g}job_history WHERE job = ?;

-- name: list_entries
-- In the order of the fields of an entry, then its rank.
SELECT position, version, type, time, recordedtime, from_status, to_status, attempt, stage,
       percent, source, actor, message, late, skewed, rank
FROM job_history
WHERE job = ? AND (time, rank, position) > (?, ?, ?)
ORDER BY time, rank, position LIMIT ?;

-- name: has_entries
SELECT EXISTS (SELECT 1 FROM job_history WHERE job = ?);

-- name: find_attempt
SELECT attempt, submitted, job, id, correlation, kind, name FROM jobs WHERE job = ?;

-- name: list_chain
-- The jobs of one run that do the same thing, in the order of their attempts.
SELECT attempt, submitted, job, id FROM jobs
WHERE correlation = ? AND kind IS ? AND name IS ?
ORDER BY attempt, submitted, job LIMIT ?;
