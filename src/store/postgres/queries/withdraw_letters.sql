-- The same of what has become letters.
UPDATE letters AS l SET state = 'withdrawn', due_at = NULL, held_until = NULL, ended_at = j.at, error = 'the run has ended'
FROM unnest($1::bigint[], $2::bigint[]) AS j (run, at)
WHERE l.run = j.run AND l.state IN ('due', 'dead') AND l.about IS NULL
    AND EXISTS (SELECT 1 FROM outbox AS o WHERE o.n = l.notice
        AND (o.notice LIKE '{"notice":"form-opened"%' OR o.notice LIKE '{"notice":"attention"%'))
