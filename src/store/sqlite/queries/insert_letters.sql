-- ?1 the notice, ?2 when, ?3 the readers, ?4 the letter that these tell of or null.
INSERT INTO letters (notice, run, enterprise, reader, about, state, created_at, due_at, attempts)
SELECT o.n, o.run, r.enterprise, j.value, ?4, 'due', ?2, ?2, 0
FROM json_each(?3) AS j JOIN outbox AS o ON o.n = ?1 JOIN runs AS r ON r.n = o.run
WHERE true ON CONFLICT DO NOTHING
