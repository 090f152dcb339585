INSERT INTO records (enterprise, collection, key, run, written_at, body, version)
SELECT id, ?2, ?3, '', ?4, ?5, 1 FROM enterprises WHERE id = ?1
ON CONFLICT (enterprise, collection, key) DO NOTHING
