-- Jobs as they are now. Times are microseconds since 1970-01-01T00:00:00Z.

-- name: schema
-- `job` is the position of the job's first event. `links` and `clock` are JSON; `clock` says which
-- event each field is from, so that the fold goes on from the row.
CREATE TABLE ${g}jobs (
    job             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL,
    submitted       INTEGER NOT NULL,
    updated         INTEGER NOT NULL,
    last_position   INTEGER NOT NULL,
    events          INTEGER NOT NULL,
    status          TEXT NOT NULL,
    status_time     INTEGER,
    submitted_known INTEGER NOT NULL,
    started         INTEGER,
    kind            TEXT,
    name            TEXT,
    owner           TEXT,
    queue           TEXT,
    priority        INTEGER,
    workflow        TEXT,
    phase           TEXT,
    parent          TEXT,
    correlation     TEXT,
    native_status   TEXT,
    stage           TEXT,
    progress        REAL,
    attempt         INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    worker          TEXT,
    message         TEXT,
    warning         TEXT,
    next            TEXT,
    links           TEXT NOT NULL,
    pinned          INTEGER NOT NULL,
    pinned_time     INTEGER,
    archived_time   INTEGER,
    clock           TEXT NOT NULL
) STRICT;

-- What can be large and changes rarely is kept apart (as JSON), so that a progress event does not
-- write it again.
CREATE TABLE ${g}job_documents (
    job    INTEGER PRIMARY KEY,
    params TEXT,
    input  TEXT,
    result TEXT,
    error  TEXT
) STRICT;

-- Every filter by a column that hardly ever changes, in the order of the list. Only the last two
-- indexes hold columns that change: each more of those is written with nearly every event.
CREATE INDEX ${g}jobs_by_submitted ON ${g}jobs (submitted);
CREATE INDEX ${g}jobs_by_kind ON ${g}jobs (kind, submitted) WHERE kind IS NOT NULL;
CREATE INDEX ${g}jobs_by_name ON ${g}jobs (name, submitted) WHERE name IS NOT NULL;
CREATE INDEX ${g}jobs_by_owner ON ${g}jobs (owner, submitted) WHERE owner IS NOT NULL;
CREATE INDEX ${g}jobs_by_queue ON ${g}jobs (queue, submitted) WHERE queue IS NOT NULL;
CREATE INDEX ${g}jobs_by_workflow ON ${g}jobs (workflow, submitted) WHERE workflow IS NOT NULL;
CREATE INDEX ${g}jobs_by_parent ON ${g}jobs (parent, submitted) WHERE parent IS NOT NULL;
CREATE INDEX ${g}jobs_by_correlation ON ${g}jobs (correlation, submitted)
    WHERE correlation IS NOT NULL;
CREATE INDEX ${g}jobs_by_status ON ${g}jobs (status, submitted);
CREATE INDEX ${g}jobs_by_updated ON ${g}jobs (updated);

-- name: load_jobs
-- Those of a JSON array of numbers, in the order of the fields of a job's state; its documents are
-- not needed to fold on, but for the error.
SELECT id, job, submitted, updated, last_position, events, status, status_time, submitted_known,
       started, kind, name, owner, queue, priority, workflow, phase, parent, correlation,
       native_status, stage, progress, attempt, attempts, worker, NULL, NULL, NULL, message,
       warning, error, next, links, pinned, pinned_time, archived_time, clock
FROM (SELECT value AS number FROM json_each(?))
CROSS JOIN ${g}jobs ON job = number
LEFT JOIN ${g}job_documents USING (job);

-- name: insert_job
INSERT INTO ${g}jobs (
    status, updated, last_position, events, status_time, submitted_known, started, priority, phase,
    native_status, stage, progress, attempt, attempts, worker, message, warning, next, pinned,
    pinned_time, archived_time, links, clock, job,
    submitted, kind, name, owner, queue, workflow, parent, correlation, id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?);

-- name: update_job
-- Leaves out the status and the columns of the filters, and so their indexes.
UPDATE ${g}jobs SET
    updated = ?, last_position = ?, events = ?, status_time = ?, submitted_known = ?, started = ?,
    priority = ?, phase = ?, native_status = ?, stage = ?, progress = ?, attempt = ?,
    attempts = ?, worker = ?, message = ?, warning = ?, next = ?, pinned = ?, pinned_time = ?,
    archived_time = ?, links = ?, clock = ?
WHERE job = ?;

-- name: move_job
UPDATE ${g}jobs SET
    status = ?,
    updated = ?, last_position = ?, events = ?, status_time = ?, submitted_known = ?, started = ?,
    priority = ?, phase = ?, native_status = ?, stage = ?, progress = ?, attempt = ?,
    attempts = ?, worker = ?, message = ?, warning = ?, next = ?, pinned = ?, pinned_time = ?,
    archived_time = ?, links = ?, clock = ?
WHERE job = ?;

-- name: update_filters
UPDATE ${g}jobs SET
    submitted = ?, kind = ?, name = ?, owner = ?, queue = ?, workflow = ?, parent = ?,
    correlation = ?
WHERE job = ?;

-- name: write_documents
INSERT INTO ${g}job_documents (job, params, input, result, error) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (job) DO UPDATE SET
    params = coalesce(excluded.params, params), input = coalesce(excluded.input, input),
    result = coalesce(excluded.result, result), error = coalesce(excluded.error, error);

-- name: delete_job
DELETE FROM ${g}jobs WHERE job = ?;

-- name: delete_documents
DELETE FROM ${g}job_documents WHERE job = ?;
