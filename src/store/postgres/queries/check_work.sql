-- The fences of the pieces of work that a batch answers, locked until its end. $1 runs, $2 frames.
-- coalesce: whether a row is held is looked at when its key has found it. Where hardly any row is when statistics are taken,
-- "owner IS NOT NULL" would have the planner walk the index of those that are, and all that is dead in it, for each batch.
SELECT r.id AS run, r.n AS n, w.frame AS frame, w.visit AS visit, w.fence AS fence,
    pg_current_xact_id()::text::bigint AS xact
FROM unnest($1::text[], $2::bigint[]) AS j (run, frame)
JOIN runs AS r ON r.id = j.run
JOIN work AS w ON w.run = r.n AND w.frame = j.frame
WHERE coalesce(w.owner, '') <> ''
ORDER BY w.run, w.frame
FOR NO KEY UPDATE OF w
