SELECT coalesce(max(n), 0) AS n FROM runs
