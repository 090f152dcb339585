DELETE FROM work WHERE run IN (SELECT value FROM json_each(?))
