INSERT INTO history (run, seq, hash, event, entered)
SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4 FROM jsonb_each(?)
