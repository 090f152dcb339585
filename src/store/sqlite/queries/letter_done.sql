-- ?1 the letter, ?2 its state, ?3 due, ?4 1 after a failure, ?5 address, ?6 error, ?7 when it ended, ?8 now. What was sent stays sent.
UPDATE letters SET state = ?2, due_at = ?3, held_until = NULL, attempts = attempts + ?4,
    failing_since = CASE WHEN ?4 = 1 THEN coalesce(failing_since, ?8) ELSE failing_since END,
    address = coalesce(?5, address), error = ?6, ended_at = ?7
WHERE n = ?1 AND (state = 'due' OR (?2 = 'sent' AND state <> 'sent')) RETURNING notice
