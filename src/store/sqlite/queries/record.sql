SELECT enterprise, collection, key, run, written_at, body, version FROM records
WHERE enterprise = ?1 AND collection = ?2 AND key = ?3
