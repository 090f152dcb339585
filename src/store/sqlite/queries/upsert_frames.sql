INSERT INTO frames (run, frame, revision, body)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each(?) WHERE true
ON CONFLICT (run, frame) DO UPDATE SET revision = excluded.revision, body = excluded.body
WHERE frames.revision < excluded.revision
