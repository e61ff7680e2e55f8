-- The event log, schema version 2. Times are microseconds since 1970-01-01T00:00:00Z.

-- What this log is: its id (random, made once), its epoch, when it was made.
CREATE TABLE log_meta (
    key   TEXT PRIMARY KEY,
    value ANY
) STRICT, WITHOUT ROWID;

-- Event types are few and long; events hold the number. `application` is empty for the daemon's
-- own events and names the `eventsourcing` application for those of the library.
CREATE TABLE types (
    type_id     INTEGER PRIMARY KEY,
    application TEXT NOT NULL,
    name        TEXT NOT NULL,
    UNIQUE (application, name)
) STRICT;

CREATE TABLE sources (
    source_id INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE
) STRICT;

-- A stream's version is that of its newest event; `floor` is the version up to which events may
-- have been removed, so that versions go on where they were.
CREATE TABLE streams (
    stream_id   INTEGER PRIMARY KEY,
    application TEXT NOT NULL,
    name        TEXT NOT NULL,
    floor       INTEGER NOT NULL DEFAULT 0,
    UNIQUE (application, name)
) STRICT;

-- AUTOINCREMENT: a position is never used again, also when the newest rows were removed.
CREATE TABLE events (
    position      INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id     INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    type_id       INTEGER NOT NULL,
    class_version INTEGER NOT NULL,
    time          INTEGER NOT NULL,
    recordedtime  INTEGER NOT NULL,
    source_id     INTEGER,
    id            TEXT,
    event_key     BLOB,
    extensions    TEXT,
    data          BLOB NOT NULL,
    payload_hash  BLOB NOT NULL,
    digest        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_stream ON events (stream_id, version);
CREATE UNIQUE INDEX events_by_key ON events (stream_id, event_key) WHERE event_key IS NOT NULL;

-- The stretches of positions without events, each as long as it can be, and the chain's digest at
-- the last of them. A chained `log.truncated` says each of them too.
CREATE TABLE removed_runs (
    first  INTEGER PRIMARY KEY,
    last   INTEGER NOT NULL,
    digest BLOB NOT NULL
) STRICT;

-- The events of a stream up to a version are to be removed. `outside`: not before what is kept of
-- them elsewhere (files, objects of the archive) is gone.
CREATE TABLE removals (
    stream_id INTEGER PRIMARY KEY,
    version   INTEGER NOT NULL,
    outside   INTEGER NOT NULL
) STRICT;

-- The keys of removed events of streams that go on (archived ones): who sends one again gets the
-- receipt it had. Of purged streams nothing is kept.
CREATE TABLE removed_keys (
    stream_id INTEGER NOT NULL,
    event_key BLOB NOT NULL,
    position  INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (stream_id, event_key)
) STRICT, WITHOUT ROWID;

-- Input that could not be decoded and whose sender cannot be told. `kept` is masked and cut.
CREATE TABLE dead_letters (
    dead_letter_id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest         BLOB NOT NULL UNIQUE,
    format         TEXT NOT NULL,
    origin         TEXT NOT NULL,
    reason         TEXT NOT NULL,
    detail         TEXT NOT NULL,
    kept           BLOB NOT NULL,
    length         INTEGER NOT NULL,
    sha256         BLOB NOT NULL,
    first_seen     INTEGER NOT NULL,
    last_seen      INTEGER NOT NULL,
    count          INTEGER NOT NULL
) STRICT;

-- How far each followed file or pipe was read; written in the transaction of its events.
CREATE TABLE follows (
    name    TEXT PRIMARY KEY,
    offset  INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Snapshots and tracking of `eventsourcing` applications: derived, outside the chain.
CREATE TABLE snapshots (
    application        TEXT NOT NULL,
    purpose            TEXT NOT NULL,
    originator_id      TEXT NOT NULL,
    originator_version INTEGER NOT NULL,
    topic              TEXT NOT NULL,
    state              BLOB NOT NULL,
    PRIMARY KEY (application, purpose, originator_id, originator_version)
) STRICT, WITHOUT ROWID;

CREATE TABLE tracking (
    application     TEXT NOT NULL,
    upstream        TEXT NOT NULL,
    notification_id INTEGER NOT NULL,
    PRIMARY KEY (application, upstream)
) STRICT, WITHOUT ROWID;
