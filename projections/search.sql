-- The words of jobs: their names, errors and messages.

-- name: schema
-- The rowid is the job's number, so that the newest jobs have the greatest. Nothing is ranked, so
-- the sizes of columns are not kept.
CREATE VIRTUAL TABLE ${g}search USING fts5 (name, error, message, columnsize = 0);

-- name: insert_words
INSERT INTO ${g}search (name, error, message, rowid) VALUES (?, ?, ?, ?);

-- name: replace_words
INSERT OR REPLACE INTO ${g}search (name, error, message, rowid) VALUES (?, ?, ?, ?);

-- name: delete_words
DELETE FROM ${g}search WHERE rowid = ?;
