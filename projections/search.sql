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

-- name: note_gone
-- Words of jobs that ended are in parts of the index until these are merged: 1 says that it is to
-- be done, 2 that it has begun.
INSERT OR REPLACE INTO views_meta (key, value) VALUES ('words_gone', ?);

-- name: find_gone
SELECT value FROM views_meta WHERE key = 'words_gone';

-- name: forget_gone
DELETE FROM views_meta WHERE key = 'words_gone';

-- name: merge
-- So many pages; a negative number begins with all there is.
INSERT INTO search (search, rank) VALUES ('merge', ?);
