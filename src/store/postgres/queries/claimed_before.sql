-- $1 owner, $2 lease until. What a claim got whose answer was lost.
SELECT r.id AS run, w.frame AS frame, w.visit AS visit, w.kind AS kind, w.name AS name, w.input AS input, w.due_at AS due_at,
    w.fence AS fence, w.attempt AS attempt, w.crashes AS crashes, w.heartbeat_s AS heartbeat_s, w.deadline AS deadline,
    w.lease_until AS lease_until, w.checkpoint AS checkpoint
FROM work AS w JOIN runs AS r ON r.n = w.run WHERE w.owner = $1 AND w.lease_until = $2
