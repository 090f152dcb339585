INSERT INTO idempotency (key, request, run) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
