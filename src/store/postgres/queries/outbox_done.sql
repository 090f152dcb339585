UPDATE outbox SET due_at = NULL, attempts = attempts + 1, error = NULL WHERE n = $1 AND due_at IS NOT NULL
