UPDATE letters SET held_until = NULL WHERE due_at IS NOT NULL AND held_until IS NOT NULL
