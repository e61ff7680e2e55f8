-- Kept counts: nothing is counted when it is asked for. Times are microseconds since
-- 1970-01-01T00:00:00Z.

-- name: schema
-- How many there are of something. `measure` says of what (see `summary.py`), `span` is 0 for all
-- time, 1 for a UTC day, 2 for an hour, and `start` numbers the day or hour since 1970. A count
-- that falls to zero has no row.
CREATE TABLE ${g}summary_counters (
    measure TEXT NOT NULL,
    span    INTEGER NOT NULL,
    start   INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    key     ANY NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (measure, span, start, kind, key)
) STRICT, WITHOUT ROWID;

-- What each alert adds to the counts follows from its row here.
CREATE TABLE ${g}summary_alerts (
    alert      INTEGER PRIMARY KEY,
    state      TEXT NOT NULL,
    state_time INTEGER,
    first_seen INTEGER,
    updated    INTEGER NOT NULL
) STRICT;

-- What purged entities add to a day (numbered since 1970): part of the counters above. From it
-- follows what is new in an event that takes over what tombstones said.
CREATE TABLE ${g}summary_purged (
    day     INTEGER NOT NULL,
    measure TEXT NOT NULL,
    kind    TEXT NOT NULL,
    key     ANY NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (day, measure, kind, key)
) STRICT, WITHOUT ROWID;

-- name: find_purged
SELECT count FROM ${g}summary_purged WHERE day = ? AND measure = ? AND kind = ? AND key = ?;

-- name: purged_of
SELECT measure, kind, key, count FROM summary_purged WHERE day = ?;

-- name: add_purged
INSERT INTO ${g}summary_purged (day, measure, kind, key, count) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (day, measure, kind, key) DO UPDATE SET count = count + excluded.count;

-- name: drop_no_purged
DELETE FROM ${g}summary_purged
WHERE day = ? AND measure = ? AND kind = ? AND key = ? AND count = 0;

-- name: load_alert
SELECT state, state_time, first_seen, updated FROM ${g}summary_alerts WHERE alert = ?;

-- name: write_alert
INSERT OR REPLACE INTO ${g}summary_alerts (state, state_time, first_seen, updated, alert)
VALUES (?, ?, ?, ?, ?);

-- name: delete_alert
DELETE FROM ${g}summary_alerts WHERE alert = ?;

-- name: add
INSERT INTO ${g}summary_counters (measure, span, start, kind, key, count)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (measure, span, start, kind, key) DO UPDATE SET count = count + excluded.count;

-- name: drop_zero
DELETE FROM ${g}summary_counters
WHERE measure = ? AND span = ? AND start = ? AND kind = ? AND key = ? AND count = 0;

-- name: sums
-- One measure over a range of days (or, with span 0, all time), by kind and key.
SELECT kind, key, sum(count) FROM summary_counters
WHERE measure = ? AND span = ? AND start BETWEEN ? AND ? GROUP BY kind, key;

-- name: sums_of_kind
SELECT kind, key, sum(count) FROM summary_counters
WHERE measure = ? AND span = ? AND start BETWEEN ? AND ? AND kind = ? GROUP BY key;

-- name: newest
-- One measure by day or hour, the newest first.
SELECT start, key, count FROM summary_counters
WHERE measure = ? AND span = ? AND start BETWEEN ? AND ? AND kind = ? ORDER BY start DESC;
