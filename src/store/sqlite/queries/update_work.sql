-- What a worker says of work that it holds, one row a piece of work. The batch: [run, frame, visit, fence, due at, free, lease until, checkpoint,
-- waiting for, progressed]; null leaves a value as it is.
UPDATE work SET
    due_at = coalesce(j.value ->> 4, work.due_at),
    owner = iif(j.value ->> 5, NULL, work.owner),
    lease_until = iif(j.value ->> 5, NULL, coalesce(j.value ->> 6, work.lease_until)),
    checkpoint = coalesce(j.value ->> 7, work.checkpoint),
    waiting_for = coalesce(j.value ->> 8, work.waiting_for),
    crashes = iif(j.value ->> 9, 0, work.crashes)
FROM jsonb_each(?) AS j
WHERE work.run = j.value ->> 0 AND work.frame = j.value ->> 1 AND work.visit = j.value ->> 2
    AND work.fence = j.value ->> 3 AND work.owner IS NOT NULL
