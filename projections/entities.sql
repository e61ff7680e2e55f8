-- The numbers of entities; the table is in store.sql.

-- name: find_entity
-- Of a stream as it is now. Different names may have the same hash.
SELECT entity FROM entities WHERE hash = ? AND stream = ? AND ended IS NULL
ORDER BY entity DESC LIMIT 1;

-- name: find_life
-- Of a stream at a position: the last that began before it and had not ended.
SELECT entity FROM entities
WHERE hash = ? AND stream = ? AND entity < ? AND (ended IS NULL OR ended >= ?)
ORDER BY entity DESC LIMIT 1;

-- name: insert_entity
INSERT INTO entities (entity, stream, hash, ended) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: insert_life
-- A build of whole streams knows when a life ended that a set of tables behind it is still in.
INSERT INTO entities (entity, stream, hash, ended) VALUES (?, ?, ?, ?)
ON CONFLICT (entity) DO UPDATE SET ended = excluded.ended
WHERE ended IS NULL AND excluded.ended IS NOT NULL;

-- name: end_entity
UPDATE entities SET ended = ? WHERE entity = ?;

-- name: has_ended
SELECT EXISTS (SELECT 1 FROM entities WHERE ended <= ?);

-- name: drop_ended
DELETE FROM entities WHERE ended <= ?;
