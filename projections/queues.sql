-- Queues: what is said of each, and the jobs in it. Times are microseconds since
-- 1970-01-01T00:00:00Z.

-- name: schema
-- `queue` is the position of the first event of the queue itself; a queue of which only its jobs
-- tell has no row.
CREATE TABLE ${g}queues (
    queue           INTEGER PRIMARY KEY,
    name            TEXT NOT NULL,
    last_position   INTEGER NOT NULL,
    paused          INTEGER NOT NULL,
    changed         INTEGER,
    reason          TEXT,
    by              TEXT,
    pauses          INTEGER NOT NULL,
    resumes         INTEGER NOT NULL,
    cleared         INTEGER,
    cleared_count   INTEGER,
    recovered       INTEGER,
    recovered_count INTEGER
) STRICT;
CREATE INDEX ${g}queues_by_name ON ${g}queues (name);

-- How many jobs of a queue have a status. A count that falls to zero has no row.
CREATE TABLE ${g}queue_counts (
    queue  TEXT NOT NULL,
    status TEXT NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (queue, status)
) STRICT, WITHOUT ROWID;

-- Where each job stands in its queue: `section` is 0 for waiting, 1 for running, 2 for ended, and
-- the jobs of one are in the order of (major, minor, job).
CREATE TABLE ${g}queue_jobs (
    job     INTEGER PRIMARY KEY,
    queue   TEXT NOT NULL,
    section INTEGER NOT NULL,
    major   INTEGER NOT NULL,
    minor   INTEGER NOT NULL
) STRICT;
CREATE INDEX ${g}queue_jobs_by_place ON ${g}queue_jobs (queue, section, major, minor);

-- name: load_queue
-- In the order of the fields of a queue's state.
SELECT name, queue, last_position, paused, changed, reason, by, pauses, resumes, cleared,
       cleared_count, recovered, recovered_count
FROM ${g}queues WHERE queue = ?;

-- name: write_queue
INSERT OR REPLACE INTO ${g}queues (
    name, queue, last_position, paused, changed, reason, by, pauses, resumes, cleared,
    cleared_count, recovered, recovered_count)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: place_job
INSERT OR REPLACE INTO ${g}queue_jobs (job, queue, section, major, minor) VALUES (?, ?, ?, ?, ?);

-- name: take_job
DELETE FROM ${g}queue_jobs WHERE job = ?;

-- name: add
INSERT INTO ${g}queue_counts (queue, status, count) VALUES (?, ?, ?)
ON CONFLICT (queue, status) DO UPDATE SET count = count + excluded.count;

-- name: drop_zero
DELETE FROM ${g}queue_counts WHERE queue = ? AND status = ? AND count = 0;

-- name: find_queue
SELECT name, queue, last_position, paused, changed, reason, by, pauses, resumes, cleared,
       cleared_count, recovered, recovered_count
FROM queues WHERE name = ?;

-- name: count_jobs
SELECT status, count FROM queue_counts WHERE queue = ?;

-- name: jobs_of_section
SELECT job FROM queue_jobs WHERE queue = ? AND section = ? ORDER BY major, minor, job LIMIT ?;

-- name: ids_of_section
SELECT id FROM queue_jobs CROSS JOIN jobs USING (job)
WHERE queue_jobs.queue = ? AND section = ? ORDER BY major, minor, job LIMIT ?;

-- name: list_names
-- The names after one. Each half walks its own index and ends early.
SELECT name FROM (
    SELECT name FROM (SELECT name FROM queues WHERE name > ?1 ORDER BY name LIMIT ?2)
    UNION
    SELECT name FROM (SELECT DISTINCT queue AS name FROM queue_counts WHERE queue > ?1
                      ORDER BY queue LIMIT ?2))
ORDER BY name LIMIT ?2;
