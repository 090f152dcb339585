SELECT o.n AS n, o.created_at AS created_at, r.enterprise AS enterprise, r.id AS run, o.notice AS notice, o.attempts AS attempts
FROM outbox AS o JOIN runs AS r ON r.n = o.run
WHERE o.due_at IS NOT NULL AND o.due_at <= ?1 ORDER BY o.due_at, o.n LIMIT ?2
