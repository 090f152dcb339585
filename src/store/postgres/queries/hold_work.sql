-- $1 runs, $2 whether their work is held.
UPDATE work SET held = j.held
FROM unnest($1::bigint[], $2::boolean[]) AS j (run, held)
WHERE work.run = j.run AND work.frame > -2
