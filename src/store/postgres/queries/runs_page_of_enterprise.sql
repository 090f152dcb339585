-- Newest first. $1 workflow or null, $2 before n, $3 at most, $4 status or null, $5 enterprise. As a range, as in
-- runs_page_by_status.sql.
SELECT n, id FROM runs
WHERE enterprise >= $5 AND enterprise <= $5 AND n < $2 AND ($1::text IS NULL OR workflow = $1) AND ($4::text IS NULL OR status = $4)
ORDER BY enterprise DESC, n DESC LIMIT $3
