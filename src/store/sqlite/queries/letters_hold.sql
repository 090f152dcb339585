-- ?1 now, ?2 held until, ?3 at most. One of a reader at a time, the one due longest: who is slow or refuses keeps nobody else waiting.
UPDATE letters SET held_until = ?2 WHERE n IN (
    SELECT l.n FROM letters AS l
    WHERE l.due_at IS NOT NULL AND l.due_at <= ?1 AND (l.held_until IS NULL OR l.held_until <= ?1)
        AND NOT EXISTS (SELECT 1 FROM letters AS o WHERE o.enterprise = l.enterprise AND o.reader = l.reader
            AND o.due_at IS NOT NULL AND o.n <> l.n AND (o.held_until > ?1 OR (o.due_at, o.n) < (l.due_at, l.n)))
    ORDER BY l.due_at, l.n LIMIT ?3)
RETURNING n
