-- A later piece of a frame's work replaces the earlier one, its fence with it: who held that has lost it.
INSERT INTO work (run, frame, visit, kind, name, input, due_at, held, fence, attempt, crashes, timeout_s, heartbeat_s,
    deadline, owner, lease_until, since)
SELECT j.run, j.frame, j.visit, j.kind, j.name, j.input, j.due_at, j.held, j.fence, j.attempt, 0, j.timeout_s, j.heartbeat_s,
    j.deadline, j.owner, j.lease_until, j.since
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::boolean[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[], $16::bigint[])
    AS j (run, frame, visit, kind, name, input, due_at, held, fence, attempt, timeout_s, heartbeat_s, deadline, owner,
        lease_until, since)
ON CONFLICT (run, frame) DO UPDATE SET visit = excluded.visit, kind = excluded.kind, name = excluded.name,
    input = excluded.input, due_at = excluded.due_at, held = excluded.held, fence = excluded.fence,
    attempt = excluded.attempt, crashes = 0, timeout_s = excluded.timeout_s, heartbeat_s = excluded.heartbeat_s,
    deadline = excluded.deadline, owner = excluded.owner, lease_until = excluded.lease_until, checkpoint = NULL,
    waiting_for = NULL, since = excluded.since
