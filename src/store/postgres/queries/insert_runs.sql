INSERT INTO runs (n, id, enterprise, workflow, definition, parent, parent_frame, parent_visit, exclusive, revision, status, ended_at, head, state)
SELECT j.n, j.id, j.enterprise, j.workflow, (SELECT d.n FROM definitions AS d WHERE d.hash = j.definition),
    j.parent, j.parent_frame, j.parent_visit, j.exclusive, j.revision, j.status, j.ended_at, j.head, j.state
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
        $9::boolean[], $10::bigint[], $11::text[], $12::bigint[], $13::bytea[], $14::text[])
    AS j (n, id, enterprise, workflow, definition, parent, parent_frame, parent_visit, exclusive, revision, status, ended_at,
        head, state)
