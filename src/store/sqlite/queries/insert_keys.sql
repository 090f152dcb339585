INSERT INTO idempotency (key, request, run, answer)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each(?)
