DELETE FROM frames WHERE (run, frame) IN (SELECT value ->> 0, value ->> 1 FROM jsonb_each(?))
