-- What a worker says of work that it holds. $1 run, $2 frame, $3 visit, $4 fence, $5 due at, $6 free, $7 lease until,
-- $8 checkpoint, $9 waiting for, $10 progressed; null leaves a value as it is. Gives a row for each that is held so.
-- See check_work.sql for coalesce.
UPDATE work SET
    due_at = coalesce(j.due_at, work.due_at),
    owner = CASE WHEN NOT j.free THEN work.owner END,
    lease_until = CASE WHEN NOT j.free THEN coalesce(j.lease_until, work.lease_until) END,
    checkpoint = coalesce(j.checkpoint, work.checkpoint),
    waiting_for = coalesce(j.waiting_for, work.waiting_for),
    crashes = CASE WHEN j.progressed THEN 0 ELSE work.crashes END
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::bigint[], $8::text[],
        $9::text[], $10::boolean[])
    AS j (run, frame, visit, fence, due_at, free, lease_until, checkpoint, waiting_for, progressed)
WHERE work.run = j.run AND work.frame = j.frame AND work.visit = j.visit AND work.fence = j.fence AND coalesce(work.owner, '') <> ''
RETURNING work.run
