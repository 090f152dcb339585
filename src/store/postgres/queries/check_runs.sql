-- Where the runs that a batch moves stand now, locked until its end, and locked with them the open children that it has a word
-- for: always in the order of their numbers, so that two batches do not wait for each other in a circle.
-- $1 runs, $2 runs whose children get a word. xact: the transaction, by which a lost answer to its COMMIT is found out.
SELECT r.id AS run, r.n AS n, r.revision AS revision, r.status AS status, r.head AS head,
    r.parent IS NOT NULL AS is_child, pg_current_xact_id()::text::bigint AS xact
FROM runs AS r
WHERE r.n = ANY (ARRAY(
    SELECT a.n FROM runs AS a WHERE a.id = ANY($1)
    UNION ALL
    SELECT c.n FROM runs AS c WHERE c.parent = ANY($2) AND c.ended_at IS NULL))
ORDER BY r.n
FOR NO KEY UPDATE OF r
