-- A word to the open children of a run's frame up to a visit, or of all its frames. $1 parents' ids, $2 frames or null,
-- $3 visits or null, $4 words, $5 inputs, $6 at, $7 fences. A cancel is never replaced by a lesser word. The fence grows with
-- the parent's revision: a child's later word never has the fence of an earlier one, although the row was deleted in between.
-- One word for each parent: a statement cannot write a child's row twice.
INSERT INTO work (run, frame, visit, kind, name, input, due_at, held, fence, attempt, crashes, since)
SELECT r.n, -2, 0, 'signal', j.word, j.input, j.at, false, j.fence, 0, 0, j.at
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
    AS j (parent, frame, visit, word, input, at, fence)
JOIN runs AS r ON r.parent = j.parent AND (j.frame IS NULL OR (r.parent_frame = j.frame AND r.parent_visit <= j.visit))
WHERE r.ended_at IS NULL
ORDER BY r.n
ON CONFLICT (run, frame) DO UPDATE SET name = excluded.name, input = excluded.input, due_at = excluded.due_at,
    owner = NULL, lease_until = NULL, fence = greatest(work.fence + 1, excluded.fence)
WHERE work.name <> 'cancel'
