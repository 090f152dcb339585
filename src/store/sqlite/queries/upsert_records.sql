INSERT INTO records (enterprise, collection, key, run, written_at, body, version)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6 FROM jsonb_each(?) WHERE true
ON CONFLICT (enterprise, collection, key) DO UPDATE SET run = excluded.run, written_at = excluded.written_at,
    body = excluded.body, version = records.version + excluded.version
