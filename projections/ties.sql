-- What ties entities together beside the columns of the jobs: who names whom.

-- name: schema
-- `entity` has an event that names `key`: as its correlation (`kind` correlation), as the id of the
-- event that caused it (causation), as a job (job), or as the file of a result (path). Found by a
-- hash of the key: see `entities`.
CREATE TABLE ${g}ties (
    hash   INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    entity INTEGER NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (hash, kind, entity, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX ${g}ties_by_entity ON ${g}ties (entity);

-- name: delete_ties
DELETE FROM ${g}ties WHERE entity = ?;

-- name: insert_tie
INSERT INTO ${g}ties (hash, kind, entity, key) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: find_tied
-- Who names one of the keys, a JSON array of [hash, key]; different keys may have the same hash.
SELECT asked.value ->> 1, t.entity, e.stream
FROM json_each(?) AS asked
CROSS JOIN ties t ON t.hash = asked.value ->> 0 AND t.kind = ? AND t.key = asked.value ->> 1
CROSS JOIN entities e ON e.entity = t.entity
LIMIT ?;

-- name: find_results
-- The streams of the results that name a job, or a path.
SELECT e.stream FROM ties t CROSS JOIN entities e ON e.entity = t.entity
WHERE t.hash = ? AND t.kind = ? AND t.key = ?
  AND e.stream > 'result/' AND e.stream < 'result0'
ORDER BY t.entity LIMIT ?;

-- name: find_job
SELECT parent, correlation, kind, name, next, links FROM jobs WHERE job = ?;

-- name: list_children
SELECT job, id FROM jobs WHERE parent = ? ORDER BY submitted, job LIMIT ?;

-- name: list_attempts
-- The jobs of one run that do the same thing; of its jobs only so many are looked at.
SELECT job, id FROM (
    SELECT job, id, kind, name FROM jobs WHERE correlation = ? ORDER BY submitted, job LIMIT ?)
WHERE kind IS ? AND name IS ? ORDER BY job;

-- name: list_correlated
SELECT job, id FROM jobs WHERE correlation = ? ORDER BY submitted, job LIMIT ?;
