-- The same of what has become letters. The batch: [run, when].
UPDATE letters SET state = 'withdrawn', due_at = NULL, held_until = NULL, ended_at = j.value ->> 1, error = 'the run has ended'
FROM jsonb_each(?) AS j
WHERE letters.run = j.value ->> 0 AND letters.state IN ('due', 'dead') AND letters.about IS NULL
    AND EXISTS (SELECT 1 FROM outbox AS o WHERE o.n = letters.notice
        AND (o.notice LIKE '{"notice":"form-opened"%' OR o.notice LIKE '{"notice":"attention"%'))
