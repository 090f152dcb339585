INSERT INTO history (run, seq, hash, event, entered)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[], $5::text[])
