-- The batch: [n, status, ended at]. Apart from update_runs.sql, so that a turn that changes neither touches no index.
UPDATE runs SET status = j.value ->> 1, ended_at = j.value ->> 2
FROM jsonb_each(?) AS j
WHERE runs.n = j.value ->> 0
