-- Newest first. $1 workflow or null, $2 before n, $3 at most.
SELECT n, id FROM runs
WHERE n < $2 AND ($1::text IS NULL OR workflow = $1)
ORDER BY n DESC LIMIT $3
