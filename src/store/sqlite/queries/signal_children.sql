-- A word to the open children of a run's frame up to a visit, or of all its frames. The batch: [parent's id, frame or null,
-- visit or null, word, input, at, fence]. A cancel is never replaced by a lesser word. The fence grows with the parent's
-- revision: a child's later word never has the fence of an earlier one, although the row was deleted in between.
INSERT INTO work (run, frame, visit, kind, name, input, due_at, held, fence, attempt, crashes, since)
SELECT r.n, -2, 0, 'signal', j.value ->> 3, j.value ->> 4, j.value ->> 5, 0, j.value ->> 6, 0, 0,
    j.value ->> 5
FROM jsonb_each(?) AS j
JOIN runs AS r ON r.parent = j.value ->> 0
    AND (j.value ->> 1 IS NULL OR (r.parent_frame = j.value ->> 1 AND r.parent_visit <= j.value ->> 2))
WHERE r.ended_at IS NULL
ON CONFLICT (run, frame) DO UPDATE SET name = excluded.name, input = excluded.input, due_at = excluded.due_at,
    owner = NULL, lease_until = NULL, fence = max(work.fence + 1, excluded.fence)
WHERE work.name <> 'cancel'
