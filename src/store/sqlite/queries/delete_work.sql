DELETE FROM work WHERE (run, frame) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))
