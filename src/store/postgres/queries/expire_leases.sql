-- $1 owners. What a living process is writing to at this moment is not a dead one's.
UPDATE work SET lease_until = 0
WHERE (run, frame) IN (SELECT run, frame FROM work WHERE owner IS NOT NULL AND lease_until > 0 AND owner = ANY($1)
                       FOR NO KEY UPDATE SKIP LOCKED)
