-- $1 transaction, $2 run, $3 revision. What became of a transaction whose COMMIT was not answered, and the hash of a row of
-- history that it would have written.
SELECT pg_xact_status($1::bigint::text::xid8) AS status, (SELECT h.hash FROM history AS h WHERE h.run = $2 AND h.seq = $3) AS hash
