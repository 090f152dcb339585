SELECT key, request, run, answer FROM idempotency WHERE key = ANY($1)
