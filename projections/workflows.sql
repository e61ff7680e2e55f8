-- Workflow files: every version that was loaded, and which is the last. Times are microseconds
-- since 1970-01-01T00:00:00Z.

-- name: schema
-- A version is a workflow.loaded or workflow.removed event, by its position; `workflow` is the
-- number of the path. `phases` and `issues` are JSON.
CREATE TABLE ${g}workflow_versions (
    version  INTEGER PRIMARY KEY,
    workflow INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    state    TEXT NOT NULL,
    sha256   TEXT,
    phases   TEXT NOT NULL,
    issues   TEXT NOT NULL
) STRICT;
CREATE INDEX ${g}workflow_versions_by_workflow ON ${g}workflow_versions (workflow);

-- `version` is the last one in log order; `issues` says how many it has.
CREATE TABLE ${g}workflows (
    workflow INTEGER PRIMARY KEY,
    path     TEXT NOT NULL,
    version  INTEGER NOT NULL,
    versions INTEGER NOT NULL,
    state    TEXT NOT NULL,
    issues   INTEGER NOT NULL
) STRICT;
CREATE INDEX ${g}workflows_by_path ON ${g}workflows (path);

-- name: insert_version
INSERT INTO ${g}workflow_versions (version, workflow, time, state, sha256, phases, issues)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: write_workflow
INSERT INTO ${g}workflows (workflow, path, version, versions, state, issues)
VALUES (?, ?, ?, 1, ?, ?)
ON CONFLICT (workflow) DO UPDATE SET
    version = excluded.version, versions = versions + 1, state = excluded.state,
    issues = excluded.issues;

-- name: show_workflows
-- Of the numbers in a JSON array, in their order.
SELECT w.workflow, path, v.version, versions, v.state, time, sha256, phases, v.issues
FROM (SELECT value AS number FROM json_each(?))
CROSS JOIN workflows AS w ON w.workflow = number
CROSS JOIN workflow_versions AS v ON v.version = w.version;

-- name: show_versions
SELECT v.version, path, v.version, versions, v.state, time, sha256, phases, v.issues
FROM (SELECT value AS number FROM json_each(?))
CROSS JOIN workflow_versions AS v ON v.version = number
CROSS JOIN (SELECT workflow, path, versions FROM workflows) USING (workflow);
