SELECT hash, body FROM payloads WHERE hash IN (SELECT value FROM json_each(?1))
