-- upsert_work.sql for work that a worker holds: $17 the visits and $18 the fences under which it does. Gives a row for each that
-- was held so. See check_work.sql for coalesce.
UPDATE work SET visit = j.visit, kind = j.kind, name = j.name, input = j.input, due_at = j.due_at, held = j.held, fence = j.fence,
    attempt = j.attempt, crashes = 0, timeout_s = j.timeout_s, heartbeat_s = j.heartbeat_s, deadline = j.deadline,
    owner = j.owner, lease_until = j.lease_until, checkpoint = NULL, waiting_for = NULL, since = j.since
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::boolean[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[], $16::bigint[],
        $17::bigint[], $18::bigint[])
    AS j (run, frame, visit, kind, name, input, due_at, held, fence, attempt, timeout_s, heartbeat_s, deadline, owner,
        lease_until, since, held_visit, held_fence)
WHERE work.run = j.run AND work.frame = j.frame AND work.visit = j.held_visit AND work.fence = j.held_fence
    AND coalesce(work.owner, '') <> ''
RETURNING work.run
