-- What asks for something in a run that has ended without success need not be told. The batch: [run, when].
UPDATE outbox SET due_at = NULL, error = 'withdrawn: the run has ended'
FROM jsonb_each(?) AS j
WHERE outbox.run = j.value ->> 0 AND outbox.due_at > 0 AND (outbox.notice LIKE '{"notice":"form-opened"%' OR outbox.notice LIKE '{"notice":"attention"%')
