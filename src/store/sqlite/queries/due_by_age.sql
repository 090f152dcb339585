SELECT count(*) FILTER (WHERE due_at > ?1 - 1000000) AS age_0,
    count(*) FILTER (WHERE due_at <= ?1 - 1000000 AND due_at > ?1 - 10000000) AS age_1,
    count(*) FILTER (WHERE due_at <= ?1 - 10000000 AND due_at > ?1 - 60000000) AS age_2,
    count(*) FILTER (WHERE due_at <= ?1 - 60000000 AND due_at > ?1 - 600000000) AS age_3,
    count(*) FILTER (WHERE due_at <= ?1 - 600000000 AND due_at > ?1 - 3600000000) AS age_4,
    count(*) FILTER (WHERE due_at <= ?1 - 3600000000) AS age_5
FROM work WHERE owner IS NULL AND held = 0 AND due_at IS NOT NULL AND due_at <= ?1
