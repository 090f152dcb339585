-- $1 n, $2 expected revisions, $3 revisions, $4 heads, $5 states.
UPDATE runs SET revision = j.revision, head = j.head, state = j.state
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[]) AS j (n, expected, revision, head, state)
WHERE runs.n = j.n AND runs.revision = j.expected
