UPDATE records SET run = '', written_at = ?4, body = ?5, version = version + 1
WHERE enterprise = ?1 AND collection = ?2 AND key = ?3 AND version = ?6
