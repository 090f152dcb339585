INSERT INTO frames (run, frame, revision, body)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[])
ON CONFLICT (run, frame) DO UPDATE SET revision = excluded.revision, body = excluded.body
WHERE frames.revision < excluded.revision
