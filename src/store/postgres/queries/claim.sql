-- $1 now, $2 owner, $3 lease until, $4 at most. A lease that has passed is a crash of whoever held it. What another process is
-- about to claim, or a commit is about to replace, is left out instead of waited for.
WITH free AS (
    SELECT run, frame, due_at FROM work WHERE owner IS NULL AND NOT held AND due_at IS NOT NULL AND due_at <= $1
    ORDER BY due_at LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
), passed AS (
    SELECT run, frame, due_at FROM work WHERE owner IS NOT NULL AND NOT held AND lease_until <= $1
    ORDER BY lease_until LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
), chosen AS (
    SELECT run, frame FROM (SELECT * FROM free UNION ALL SELECT * FROM passed) AS b ORDER BY due_at LIMIT $4
)
UPDATE work AS w SET owner = $2, lease_until = $3, fence = w.fence + 1, attempt = w.attempt + 1,
    crashes = w.crashes + (w.owner IS NOT NULL)::int,
    deadline = coalesce(w.deadline, $1 + w.timeout_s * 1000000)
FROM chosen AS c JOIN runs AS r ON r.n = c.run
WHERE w.run = c.run AND w.frame = c.frame
RETURNING r.id AS run, w.frame AS frame, w.visit AS visit, w.kind AS kind, w.name AS name, w.input AS input, w.due_at AS due_at,
    w.fence AS fence, w.attempt AS attempt, w.crashes AS crashes, w.heartbeat_s AS heartbeat_s, w.deadline AS deadline,
    w.lease_until AS lease_until, w.checkpoint AS checkpoint
