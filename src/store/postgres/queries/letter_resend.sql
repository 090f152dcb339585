UPDATE letters SET state = 'due', due_at = $2, attempts = CASE WHEN state = 'dead' THEN 0 ELSE attempts END,
    failing_since = CASE WHEN state = 'dead' THEN NULL ELSE failing_since END, ended_at = NULL
WHERE n = $1 AND state IN ('due', 'dead')
