INSERT INTO outbox (run, created_at, notice, due_at, attempts)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 1, 0 FROM jsonb_each(?)
