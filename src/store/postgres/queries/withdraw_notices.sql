-- What asks for something in a run that has ended without success need not be told.
UPDATE outbox AS o SET due_at = NULL, error = 'withdrawn: the run has ended'
FROM unnest($1::bigint[], $2::bigint[]) AS j (run, at)
WHERE o.run = j.run AND o.due_at > 0 AND (o.notice LIKE '{"notice":"form-opened"%' OR o.notice LIKE '{"notice":"attention"%')
