SELECT id FROM enterprises WHERE id IN (SELECT value FROM json_each(?1))
