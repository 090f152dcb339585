-- $1 how many numbers. xact: as in check_runs.sql.
SELECT nextval('runs_n') AS n, pg_current_xact_id()::text::bigint AS xact FROM generate_series(1, $1::bigint)
