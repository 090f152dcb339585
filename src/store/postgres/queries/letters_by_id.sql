SELECT l.n AS n, l.enterprise AS enterprise, r.id AS run, o.created_at AS noticed_at, o.notice AS notice, l.reader AS reader,
    l.about AS about, l.state AS state, l.due_at AS due_at, l.attempts AS attempts, l.failing_since AS failing_since,
    l.address AS address, l.error AS error, l.ended_at AS ended_at
FROM letters AS l JOIN outbox AS o ON o.n = l.notice JOIN runs AS r ON r.n = l.run
WHERE l.n = ANY ($1::bigint[]) ORDER BY l.due_at, l.n
