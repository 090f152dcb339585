-- Fails, and with it the transaction, unless all that the batch answers is held. The batch: [run, frame, visit, fence]; then how
-- many they are.
SELECT json(iif((SELECT count(*) FROM jsonb_each(?) AS j
                 JOIN work AS w ON w.run = j.value ->> 0 AND w.frame = j.value ->> 1
                 WHERE w.visit = j.value ->> 2 AND w.fence = j.value ->> 3 AND w.owner IS NOT NULL) = ?,
    'true', 'work is not held under its fence'))
