-- $1 now, $2 at most, $3 until when no other process gets them.
WITH mine AS (
    SELECT n FROM outbox WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at, n LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE outbox AS o SET due_at = $3
FROM mine JOIN outbox AS b ON b.n = mine.n JOIN runs AS r ON r.n = b.run
WHERE o.n = mine.n
RETURNING o.n AS n, o.created_at AS created_at, r.enterprise AS enterprise, r.id AS run, o.notice AS notice, o.attempts AS attempts
