INSERT INTO idempotency (key, request, run, answer) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
