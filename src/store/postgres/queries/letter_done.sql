-- $1 the letter, $2 its state, $3 due, $4 1 after a failure, $5 address, $6 error, $7 when it ended, $8 now. What was sent stays sent.
UPDATE letters SET state = $2::text, due_at = $3::bigint, held_until = NULL, attempts = attempts + $4::bigint,
    failing_since = CASE WHEN $4::bigint = 1 THEN coalesce(failing_since, $8::bigint) ELSE failing_since END,
    address = coalesce($5::text, address), error = $6::text, ended_at = $7::bigint
WHERE n = $1 AND (state = 'due' OR ($2::text = 'sent' AND state <> 'sent')) RETURNING notice
