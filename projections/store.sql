-- views.db beside the projections' own tables: whose views these are, how far each projection is,
-- and the numbers of entities. Times are microseconds since 1970-01-01T00:00:00Z.

-- name: schema
-- Whose views these are (log_id, epoch), and the head of the log when last looked at (head).
CREATE TABLE views_meta (
    key   TEXT PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;

-- One row for the live tables of a projection and one for its build, if there is one. The tables
-- of a build are named g<generation>_<table>; its indexes keep that name when it goes live.
-- `position`, `digest` and `recordedtime` are of the last event that the rows know.
CREATE TABLE projections (
    generation      INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT NOT NULL,
    live            INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    position        INTEGER NOT NULL DEFAULT 0,
    digest          BLOB,
    recordedtime    INTEGER,
    tables          TEXT NOT NULL,
    error           TEXT,
    failed_position INTEGER,
    UNIQUE (name, live)
) STRICT;

-- The number of an entity is the position of its first event: one short, rising key for every
-- projection, where the names of streams are long and random. `ended` is the position of the
-- marker that ended it: such a row goes once every set of tables has passed that.
CREATE TABLE entities (
    entity INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    hash   INTEGER NOT NULL,
    ended  INTEGER
) STRICT;

-- A stream is found by a hash of its name: the names themselves are long, and so random that each
-- new one is written to another page.
CREATE INDEX entities_by_hash ON entities (hash);
CREATE INDEX entities_by_end ON entities (ended) WHERE ended IS NOT NULL;

-- name: read_meta
SELECT key, value FROM views_meta;

-- name: write_meta
INSERT INTO views_meta (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: list_generations
SELECT generation, name, live, version, position, digest, recordedtime, tables, error,
       failed_position
FROM projections ORDER BY name, live;

-- name: insert_generation
INSERT INTO projections (name, live, version, tables) VALUES (?, 0, ?, '') RETURNING generation;

-- name: set_tables
UPDATE projections SET tables = ? WHERE generation = ?;

-- name: set_version
UPDATE projections SET version = ? WHERE generation = ?;

-- name: advance_generation
UPDATE projections SET position = ?, digest = ?, recordedtime = ?, error = ?, failed_position = ?
WHERE generation = ?;

-- name: delete_generation
DELETE FROM projections WHERE generation = ?;

-- name: make_live
UPDATE projections SET live = 1 WHERE generation = ?;

-- name: list_tables
-- Without the shadow tables of full-text indexes, which go with their virtual table.
SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual');

-- name: list_indexes
SELECT name FROM sqlite_schema WHERE type = 'index';

-- name: newest_entity
SELECT max(entity) FROM entities;
