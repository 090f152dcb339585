SELECT (SELECT count(*) FROM work WHERE owner IS NULL AND NOT held AND due_at IS NOT NULL AND due_at <= $1) AS due,
    (SELECT min(due_at) FROM work WHERE owner IS NULL AND NOT held AND due_at IS NOT NULL) AS oldest_due,
    (SELECT count(*) FROM work WHERE owner IS NOT NULL) AS leases,
    (SELECT count(*) FROM runs WHERE status = 'attention') AS attention,
    (SELECT count(*) FROM outbox WHERE due_at IS NOT NULL) AS outbox,
    (SELECT min(created_at) FROM outbox WHERE due_at IS NOT NULL) AS oldest_outbox
