-- Owner, lease until, now, now, at most, now, at most, at most. A lease that has passed is a crash of whoever held it.
-- The plus keeps SQLite from planning by the limit that is bound, and so from preparing the statement again for each other one.
UPDATE work SET owner = ?, lease_until = ?, fence = work.fence + 1, attempt = work.attempt + 1,
    crashes = work.crashes + (work.owner IS NOT NULL),
    deadline = coalesce(work.deadline, ? + work.timeout_s * 1000000)
WHERE (run, frame) IN (
    SELECT run, frame FROM (
        SELECT * FROM (SELECT run, frame, due_at FROM work WHERE owner IS NULL AND held = 0 AND due_at IS NOT NULL AND due_at <= ?
                       ORDER BY due_at LIMIT +?)
        UNION ALL
        SELECT * FROM (SELECT run, frame, due_at FROM work WHERE owner IS NOT NULL AND held = 0 AND lease_until <= ?
                       ORDER BY lease_until LIMIT +?))
    ORDER BY due_at LIMIT +?)
RETURNING (SELECT r.id FROM runs AS r WHERE r.n = work.run) AS run, frame, visit, kind, name, input, due_at, fence, attempt,
    crashes, heartbeat_s, deadline, lease_until, checkpoint
