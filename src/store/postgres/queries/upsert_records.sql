INSERT INTO records (enterprise, collection, key, run, written_at, body, version)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[])
ON CONFLICT (enterprise, collection, key) DO UPDATE SET run = excluded.run, written_at = excluded.written_at,
    body = excluded.body, version = records.version + excluded.version
