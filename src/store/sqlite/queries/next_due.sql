-- When there is something to claim next.
SELECT min(at) AS at FROM (
    SELECT min(due_at) AS at FROM work WHERE owner IS NULL AND held = 0 AND due_at IS NOT NULL
    UNION ALL
    SELECT min(lease_until) FROM work WHERE owner IS NOT NULL AND held = 0)
