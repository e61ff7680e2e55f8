-- Messages about files with what matched them, and the last state of each path. Times are
-- microseconds since 1970-01-01T00:00:00Z.

-- name: schema
-- A message is a file.observed event, by its position; `file` is the number of the path. `facts`
-- is JSON. `matched` is 1 when a rule matched, 0 when none did or none was asked yet.
CREATE TABLE ${g}file_messages (
    message      INTEGER PRIMARY KEY,
    file         INTEGER NOT NULL,
    path         TEXT NOT NULL,
    event        TEXT NOT NULL,
    source       TEXT NOT NULL,
    time         INTEGER NOT NULL,
    recordedtime INTEGER NOT NULL,
    skewed       INTEGER NOT NULL,
    facts        TEXT NOT NULL,
    matched      INTEGER NOT NULL
) STRICT;
CREATE INDEX ${g}file_messages_by_time ON ${g}file_messages (time);
CREATE INDEX ${g}file_messages_by_matched ON ${g}file_messages (matched, time);
CREATE INDEX ${g}file_messages_by_path ON ${g}file_messages (path, time);
CREATE UNIQUE INDEX ${g}file_messages_by_event ON ${g}file_messages (file, event, message);

-- What matched a message, or why nothing did: one row a file.matched event, by its position.
-- `phases` and `jobs` are JSON.
CREATE TABLE ${g}file_matches (
    position INTEGER PRIMARY KEY,
    message  INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    workflow TEXT,
    phases   TEXT NOT NULL,
    jobs     TEXT NOT NULL,
    reason   TEXT
) STRICT;
CREATE INDEX ${g}file_matches_by_message ON ${g}file_matches (message);

-- `newest` is the last message in log order; `facts`, `match` and `outcome` are JSON.
CREATE TABLE ${g}files (
    file           INTEGER PRIMARY KEY,
    path           TEXT NOT NULL,
    updated        INTEGER NOT NULL,
    last_position  INTEGER NOT NULL,
    events         INTEGER NOT NULL,
    state          TEXT NOT NULL,
    state_time     INTEGER,
    first_observed INTEGER,
    observed       INTEGER,
    observations   INTEGER NOT NULL,
    facts          TEXT NOT NULL,
    matched        INTEGER,
    match          TEXT NOT NULL,
    concluded      INTEGER,
    concluded_rank INTEGER NOT NULL,
    outcome        TEXT NOT NULL,
    newest         INTEGER
) STRICT;

-- name: load_file
-- In the order of the fields of a file's state, then the newest message.
SELECT path, file, updated, last_position, events, state, state_time, first_observed, observed,
       observations, facts, matched, match, concluded, concluded_rank, outcome, newest
FROM ${g}files WHERE file = ?;

-- name: write_file
INSERT OR REPLACE INTO ${g}files (
    path, file, updated, last_position, events, state, state_time, first_observed, observed,
    observations, facts, matched, match, concluded, concluded_rank, outcome, newest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_message
INSERT INTO ${g}file_messages (
    message, file, path, event, source, time, recordedtime, skewed, facts, matched)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0);

-- name: find_message
-- The last message before a match that has the event id which the match names as its cause.
SELECT max(message) FROM ${g}file_messages WHERE file = ? AND event = ? AND message < ?;

-- name: insert_match
INSERT INTO ${g}file_matches (position, message, time, workflow, phases, jobs, reason)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: set_matched
UPDATE ${g}file_messages SET matched = 1 WHERE message = ? AND matched = 0;

-- name: delete_matches
DELETE FROM ${g}file_matches
WHERE message IN (SELECT message FROM ${g}file_messages WHERE file = ?);

-- name: delete_messages
DELETE FROM ${g}file_messages WHERE file = ?;

-- name: delete_file
DELETE FROM ${g}files WHERE file = ?;

-- name: show_messages
-- Of the numbers in a JSON array, in their order: a row for each of the first matches of a message,
-- or one without a match.
SELECT m.message, m.path, m.event, m.source, m.time, m.recordedtime, m.skewed, m.facts, m.matched,
       state, x.position, x.time, x.workflow, x.phases, x.jobs, x.reason
FROM (SELECT value AS number FROM json_each(?))
CROSS JOIN file_messages AS m ON m.message = number
LEFT JOIN files USING (file)
LEFT JOIN file_matches AS x ON x.position IN (
    SELECT position FROM file_matches WHERE message = m.message ORDER BY position LIMIT ?);
