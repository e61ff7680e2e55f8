-- The words of jobs: their names, errors and messages.

-- name: schema
-- The rowid is the job's number, so that the newest jobs have the greatest. Nothing is ranked, so
-- the sizes of columns are not kept.
CREATE VIRTUAL TABLE ${g}search USING fts5 (name, error, message, columnsize = 0);

-- What the fold needs beside the words, to go on: an error that the job got over is not searched
-- for, but comes back when the job fails again without one. `clock` is JSON.
CREATE TABLE ${g}search_jobs (
    job          INTEGER PRIMARY KEY,
    status       TEXT NOT NULL,
    status_time  INTEGER,
    hidden_error TEXT,
    clock        TEXT NOT NULL
) STRICT;

-- name: load_words
SELECT status, status_time, clock, name, message, coalesce(error, hidden_error)
FROM ${g}search_jobs LEFT JOIN ${g}search ON ${g}search.rowid = job WHERE job = ?;

-- name: write_job
INSERT INTO ${g}search_jobs (status, status_time, hidden_error, clock, job) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (job) DO UPDATE SET
    status = excluded.status, status_time = excluded.status_time,
    hidden_error = excluded.hidden_error, clock = excluded.clock;

-- name: write_words
INSERT OR REPLACE INTO ${g}search (name, error, message, rowid) VALUES (?, ?, ?, ?);

-- name: delete_words
DELETE FROM ${g}search WHERE rowid = ?;
