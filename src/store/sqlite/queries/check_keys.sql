SELECT key, request, run, answer FROM idempotency WHERE key IN (SELECT value FROM json_each(?1))
