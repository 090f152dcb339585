SELECT enterprise, id AS run FROM runs
WHERE exclusive = 1 AND ended_at IS NULL AND enterprise IN (SELECT value FROM json_each(?1))
