SELECT enterprise, collection, key, run, written_at, body, version FROM records WHERE collection = ?1 AND key = ?2
ORDER BY enterprise LIMIT 1
