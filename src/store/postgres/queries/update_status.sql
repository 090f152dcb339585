-- $1 n, $2 statuses, $3 ends. Apart from update_runs.sql, so that a turn that changes neither touches no index.
UPDATE runs SET status = j.status, ended_at = j.ended_at
FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS j (n, status, ended_at)
WHERE runs.n = j.n
