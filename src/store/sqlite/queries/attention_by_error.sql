SELECT error, count(*) AS frames FROM (
    SELECT state ->> '$.root.phase.error' AS error
    FROM (SELECT state FROM runs WHERE status = 'attention' ORDER BY n DESC LIMIT 1000)
    WHERE state ->> '$.root.phase.phase' = 'attention'
    UNION ALL
    SELECT body ->> '$.phase.error' AS error
    FROM (SELECT n FROM runs WHERE status = 'attention' ORDER BY n DESC LIMIT 1000) JOIN frames ON frames.run = n
    WHERE body ->> '$.phase.phase' = 'attention'
) GROUP BY error ORDER BY frames DESC, error LIMIT 50
