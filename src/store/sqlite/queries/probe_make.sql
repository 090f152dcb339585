INSERT INTO probe (body) VALUES (zeroblob(16384))
