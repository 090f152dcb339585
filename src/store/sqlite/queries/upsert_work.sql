-- A later piece of a frame's work replaces the earlier one, its fence with it: who held that has lost it.
INSERT INTO work (run, frame, visit, kind, name, input, due_at, held, fence, attempt, crashes, timeout_s, heartbeat_s,
    deadline, owner, lease_until, since)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, 0, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15
FROM jsonb_each(?) WHERE true
ON CONFLICT (run, frame) DO UPDATE SET visit = excluded.visit, kind = excluded.kind, name = excluded.name,
    input = excluded.input, due_at = excluded.due_at, held = excluded.held, fence = excluded.fence,
    attempt = excluded.attempt, crashes = 0, timeout_s = excluded.timeout_s, heartbeat_s = excluded.heartbeat_s,
    deadline = excluded.deadline, owner = excluded.owner, lease_until = excluded.lease_until, checkpoint = NULL,
    waiting_for = NULL, since = excluded.since
