-- The table of the PostgreSQL peers, and what pgbench does.

-- name: table
DROP TABLE IF EXISTS events;
CREATE TABLE events (
    position bigserial PRIMARY KEY,
    stream   text NOT NULL,
    version  integer NOT NULL,
    id       text NOT NULL,
    type     text NOT NULL,
    data     text NOT NULL,
    UNIQUE (stream, version)
);

-- name: insert
INSERT INTO events (stream, version, id, type, data)
VALUES ('job/' || :job, :version, :event, 'job.progressed', repeat('event data, ', 26));
