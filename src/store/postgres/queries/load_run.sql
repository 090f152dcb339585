SELECT r.n AS n, r.id AS id, r.enterprise AS enterprise, r.workflow AS workflow, d.hash AS definition, r.parent AS parent,
    r.parent_frame AS parent_frame, r.parent_visit AS parent_visit, r.exclusive AS exclusive, r.revision AS revision, r.head AS head, r.state AS state, r.status AS status,
    ARRAY(SELECT f.body FROM frames AS f WHERE f.run = r.n ORDER BY f.frame) AS frames
FROM runs AS r JOIN definitions AS d ON d.n = r.definition WHERE r.id = $1
