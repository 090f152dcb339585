-- $1 n, $2 expected revisions, $3 the chains' heads at these, $4 revisions, $5 heads, $6 states, $7 statuses, $8 ends. A status
-- that is as it was touches no index. Gives a row for each that stood so.
UPDATE runs SET revision = j.revision, head = j.head, state = j.state, status = j.status, ended_at = j.ended_at
FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::text[], $7::text[], $8::bigint[])
    AS j (n, expected, was, revision, head, state, status, ended_at)
WHERE runs.n = j.n AND runs.revision = j.expected AND runs.head = j.was
RETURNING runs.n
