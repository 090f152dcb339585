SELECT (SELECT min(due_at) FROM work WHERE owner IS NULL AND held = 0 AND due_at IS NOT NULL) AS oldest_due,
    (SELECT count(*) FROM work WHERE owner IS NOT NULL) AS leases,
    (SELECT count(*) FROM work WHERE owner IS NOT NULL AND lease_until <= ?1) AS leases_passed,
    (SELECT count(*) FROM runs WHERE status = 'working') AS working,
    (SELECT count(*) FROM runs WHERE status = 'waiting') AS waiting,
    (SELECT count(*) FROM runs WHERE status = 'attention') AS attention,
    (SELECT count(*) FROM runs WHERE status = 'paused') AS paused,
    (SELECT count(*) FROM outbox WHERE due_at IS NOT NULL)
        + (SELECT count(*) FROM letters WHERE due_at IS NOT NULL) AS outbox,
    (SELECT min(created_at) FROM (
        SELECT created_at FROM outbox WHERE due_at IS NOT NULL
        UNION ALL SELECT created_at FROM letters WHERE due_at IS NOT NULL) AS unsent) AS oldest_outbox,
    (SELECT count(*) FROM letters WHERE state IN ('due', 'dead') AND state = 'dead') AS dead_letters
