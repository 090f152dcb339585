-- When there is something to claim next, and whether anybody has work.
SELECT least(
        (SELECT min(due_at) FROM work WHERE owner IS NULL AND NOT held AND due_at IS NOT NULL),
        (SELECT lease_until FROM work WHERE owner IS NOT NULL AND NOT held ORDER BY lease_until LIMIT 1)) AS at,
    EXISTS (SELECT FROM work WHERE owner IS NOT NULL ORDER BY lease_until) AS leased
