-- Where the runs that a batch writes to stand now.
SELECT r.id AS run, r.n AS n, r.revision AS revision, r.status AS status, r.head AS head,
    r.parent IS NOT NULL AS is_child
FROM json_each(?1) AS j
JOIN runs AS r ON r.id = j.value
