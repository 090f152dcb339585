-- PostgreSQL reads no JSON text that holds a NUL, which no error's name does.
SELECT found.error AS error, count(*) AS frames FROM (
    SELECT a.state #>> '{root,phase,error}' AS error
    FROM (SELECT replace(state, '\u0000', '')::jsonb AS state FROM runs WHERE status = 'attention' ORDER BY n DESC LIMIT 1000) AS a
    WHERE a.state #>> '{root,phase,phase}' = 'attention'
    UNION ALL
    SELECT replace(f.body, '\u0000', '')::jsonb #>> '{phase,error}' AS error
    FROM (SELECT n FROM runs WHERE status = 'attention' ORDER BY n DESC LIMIT 1000) AS b JOIN frames AS f ON f.run = b.n
    WHERE replace(f.body, '\u0000', '')::jsonb #>> '{phase,phase}' = 'attention'
) AS found GROUP BY found.error ORDER BY frames DESC, error LIMIT 50
