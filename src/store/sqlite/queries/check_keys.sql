SELECT key, request, run FROM idempotency WHERE key IN (SELECT value FROM json_each(?1))
