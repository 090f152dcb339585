SELECT key, request, run FROM idempotency WHERE key = ANY($1)
