INSERT INTO payloads (hash, body)
SELECT value ->> 0, value ->> 1 FROM jsonb_each(?) WHERE true
ON CONFLICT (hash) DO NOTHING
