-- The batch: [run, held].
UPDATE work SET held = j.value ->> 1
FROM jsonb_each(?) AS j
WHERE work.run = j.value ->> 0 AND work.frame > -2
