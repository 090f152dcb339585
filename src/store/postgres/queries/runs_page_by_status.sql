-- Newest first. $1 workflow or null, $2 before n, $3 at most, $4 status. Said as a range and in the index's own order: for a
-- status that is rare, a walk from the newest run backwards would read them all.
SELECT n, id FROM runs
WHERE status >= $4 AND status <= $4 AND n < $2 AND ($1::text IS NULL OR workflow = $1)
ORDER BY status DESC, n DESC LIMIT $3
