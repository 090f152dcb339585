-- Newest first. $1 workflow or null, $2 before n, $3 at most, $4 status or null, $5 enterprise.
SELECT n, id FROM runs
WHERE enterprise = $5 AND n < $2 AND ($1::text IS NULL OR workflow = $1) AND ($4::text IS NULL OR status = $4)
ORDER BY n DESC LIMIT $3
