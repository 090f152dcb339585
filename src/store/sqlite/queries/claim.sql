-- ?1 now, ?2 owner, ?3 lease until, ?4 at most. A lease that has passed is a crash of whoever held it.
UPDATE work SET owner = ?2, lease_until = ?3, fence = work.fence + 1, attempt = work.attempt + 1,
    crashes = work.crashes + (work.owner IS NOT NULL),
    deadline = coalesce(work.deadline, ?1 + work.timeout_s * 1000000)
WHERE (run, frame) IN (
    SELECT run, frame FROM (
        SELECT * FROM (SELECT run, frame, due_at FROM work WHERE owner IS NULL AND held = 0 AND due_at IS NOT NULL AND due_at <= ?1
                       ORDER BY due_at LIMIT ?4)
        UNION ALL
        SELECT * FROM (SELECT run, frame, due_at FROM work WHERE owner IS NOT NULL AND held = 0 AND lease_until <= ?1
                       ORDER BY lease_until LIMIT ?4))
    ORDER BY due_at LIMIT ?4)
RETURNING (SELECT r.id FROM runs AS r WHERE r.n = work.run) AS run, frame, visit, kind, name, input, due_at, fence, attempt,
    crashes, heartbeat_s, deadline, lease_until, checkpoint
