-- Statements of a measure; each is short, and none holds a read transaction after it.

-- name: tables
-- Tables and indexes by the name of their tree; `without_rowid` rows are counted in all pages.
SELECT s.name, s.tbl_name, s.type, coalesce(t.wr, 0) AS without_rowid
FROM sqlite_schema AS s
LEFT JOIN pragma_table_list AS t ON t.schema = 'main' AND t.name = s.name
WHERE s.rootpage > 0
UNION ALL
SELECT 'sqlite_schema', 'sqlite_schema', 'table', 0;

-- name: pages
-- Up to some pages of a tree: how many, their bytes, and the cells of all pages and of the leaves.
SELECT count(*), coalesce(sum(pgsize), 0), coalesce(sum(ncell), 0),
       coalesce(sum(CASE WHEN pagetype = 'leaf' THEN ncell ELSE 0 END), 0)
FROM (SELECT pgsize, ncell, pagetype FROM dbstat('main') WHERE name = ? LIMIT ?);

-- name: slice
-- The next events after a position, by type: count, stored bytes and the last position, then for
-- each of three moments of those younger: count, bytes, first position and when that was recorded.
SELECT type_id, count(*), sum(size), max(position),
       sum(recordedtime > ?3), sum(iif(recordedtime > ?3, size, 0)),
       min(iif(recordedtime > ?3, position, NULL)), min(iif(recordedtime > ?3, recordedtime, NULL)),
       sum(recordedtime > ?4), sum(iif(recordedtime > ?4, size, 0)),
       min(iif(recordedtime > ?4, position, NULL)), min(iif(recordedtime > ?4, recordedtime, NULL)),
       sum(recordedtime > ?5), sum(iif(recordedtime > ?5, size, 0)),
       min(iif(recordedtime > ?5, position, NULL)), min(iif(recordedtime > ?5, recordedtime, NULL))
FROM (
    SELECT type_id, recordedtime, position,
           length(data) + length(payload_hash) + length(digest) + coalesce(length(id), 0)
           + coalesce(length(extensions), 0) + coalesce(length(event_key), 0) AS size
    FROM events WHERE position > ?1 ORDER BY position LIMIT ?2
)
GROUP BY type_id;

-- name: types
SELECT type_id, application, name FROM types;

-- name: head
SELECT coalesce(max(position), 0) FROM events;

-- name: oldest
SELECT position, recordedtime FROM events ORDER BY position LIMIT 1;

-- name: room
-- The size of a page, the pages of the file, and those of them that hold nothing.
SELECT page_size, page_count, freelist_count
FROM pragma_page_size(), pragma_page_count(), pragma_freelist_count();

-- name: log_id
SELECT value FROM log_meta WHERE key = 'log_id';
