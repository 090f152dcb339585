SELECT l.n AS n, l.enterprise AS enterprise, r.id AS run, o.created_at AS noticed_at, o.notice AS notice, l.reader AS reader,
    l.about AS about, l.state AS state, l.due_at AS due_at, l.attempts AS attempts, l.failing_since AS failing_since,
    l.address AS address, l.error AS error, l.ended_at AS ended_at
FROM json_each(?1) AS j CROSS JOIN runs AS r ON r.id = j.value CROSS JOIN letters AS l ON l.run = r.n
    JOIN outbox AS o ON o.n = l.notice
WHERE l.state IN ('due', 'dead')
ORDER BY l.n LIMIT 200
