-- Alerts as they are now, and what happened to each. Times are microseconds since
-- 1970-01-01T00:00:00Z.

-- name: schema
-- `alert` is the position of the alert's first event. `listed` is when it was first seen, or, for
-- one that nobody raised, when it was last heard of. `labels` and `clock` are JSON.
CREATE TABLE ${g}alerts (
    alert           INTEGER PRIMARY KEY,
    id              TEXT NOT NULL,
    listed          INTEGER NOT NULL,
    updated         INTEGER NOT NULL,
    last_position   INTEGER NOT NULL,
    events          INTEGER NOT NULL,
    state           TEXT NOT NULL,
    state_time      INTEGER,
    severity        TEXT,
    kind            TEXT,
    title           TEXT,
    message         TEXT,
    fingerprint     TEXT,
    job             TEXT,
    labels          TEXT,
    first_seen      INTEGER,
    last_seen       INTEGER,
    count           INTEGER NOT NULL,
    acknowledged    INTEGER,
    acknowledged_by TEXT,
    resolved        INTEGER,
    resolved_by     TEXT,
    notified        INTEGER,
    notifications   INTEGER NOT NULL,
    clock           TEXT NOT NULL
) STRICT;
CREATE INDEX ${g}alerts_by_listed ON ${g}alerts (listed);
CREATE INDEX ${g}alerts_by_state ON ${g}alerts (state, listed);
CREATE INDEX ${g}alerts_by_severity ON ${g}alerts (severity, listed) WHERE severity IS NOT NULL;
CREATE INDEX ${g}alerts_by_kind ON ${g}alerts (kind, listed) WHERE kind IS NOT NULL;
CREATE INDEX ${g}alerts_by_job ON ${g}alerts (job, listed) WHERE job IS NOT NULL;
CREATE INDEX ${g}alerts_by_fingerprint ON ${g}alerts (fingerprint, listed)
    WHERE fingerprint IS NOT NULL;

CREATE TABLE ${g}alert_timeline (
    position     INTEGER PRIMARY KEY,
    alert        INTEGER NOT NULL,
    version      INTEGER NOT NULL,
    type         TEXT NOT NULL,
    time         INTEGER NOT NULL,
    rank         INTEGER NOT NULL,
    recordedtime INTEGER NOT NULL,
    source       TEXT NOT NULL,
    actor        TEXT,
    by           TEXT,
    reason       TEXT,
    channel      TEXT,
    severity     TEXT,
    message      TEXT,
    skewed       INTEGER NOT NULL
) STRICT;
CREATE INDEX ${g}alert_timeline_by_alert ON ${g}alert_timeline (alert, time, rank);

-- name: load_alert
-- In the order of the fields of an alert's state.
SELECT id, alert, updated, last_position, events, state, state_time, severity, kind, title, message,
       fingerprint, job, labels, first_seen, last_seen, count, acknowledged, acknowledged_by,
       resolved, resolved_by, notified, notifications, clock
FROM ${g}alerts WHERE alert = ?;

-- name: write_alert
INSERT OR REPLACE INTO ${g}alerts (
    id, alert, updated, last_position, events, state, state_time, severity, kind, title, message,
    fingerprint, job, labels, first_seen, last_seen, count, acknowledged, acknowledged_by,
    resolved, resolved_by, notified, notifications, clock, listed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_entry
INSERT INTO ${g}alert_timeline (
    position, alert, version, type, time, rank, recordedtime, source, actor, by, reason, channel,
    severity, message, skewed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: delete_alert
DELETE FROM ${g}alerts WHERE alert = ?;

-- name: delete_entries
DELETE FROM ${g}alert_timeline WHERE alert = ?;

-- name: newest_entries
SELECT position, version, type, time, recordedtime, source, actor, by, reason, channel, severity,
       message, skewed
FROM alert_timeline WHERE alert = ? ORDER BY time DESC, rank DESC, position DESC LIMIT ?;

-- name: show_alerts
-- Of the numbers in a JSON array, in their order; the fields are in the order of `load_alert`.
SELECT id, alert, updated, last_position, events, state, state_time, severity, kind, title, message,
       fingerprint, job, labels, first_seen, last_seen, count, acknowledged, acknowledged_by,
       resolved, resolved_by, notified, notifications, clock
FROM (SELECT value AS number FROM json_each(?)) CROSS JOIN alerts ON alert = number;
