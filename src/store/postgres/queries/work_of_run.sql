SELECT w.frame AS frame, w.visit AS visit, w.kind AS kind, w.name AS name, w.input AS input, w.due_at AS due_at, w.held AS held,
    w.fence AS fence, w.attempt AS attempt, w.crashes AS crashes, w.owner AS owner, w.lease_until AS lease_until, w.checkpoint AS checkpoint,
    w.waiting_for AS waiting_for, w.since AS since, w.deadline AS deadline
FROM work AS w JOIN runs AS r ON r.n = w.run WHERE r.id = $1 ORDER BY w.frame
