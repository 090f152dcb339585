UPDATE outbox SET due_at = $3, attempts = attempts + 1, error = $2 WHERE n = $1 AND due_at IS NOT NULL
