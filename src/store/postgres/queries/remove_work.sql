-- delete_work.sql for work that a worker holds. $1 runs, $2 frames, $3 visits, $4 fences. Gives a row for each that was held so.
-- See check_work.sql for coalesce.
DELETE FROM work USING unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS j (run, frame, visit, fence)
WHERE work.run = j.run AND work.frame = j.frame AND work.visit = j.visit AND work.fence = j.fence AND coalesce(work.owner, '') <> ''
RETURNING work.run
