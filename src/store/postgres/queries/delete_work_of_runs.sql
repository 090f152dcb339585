-- $1 runs; $2 and $3 runs and frames of the work that another statement takes away at the same time.
DELETE FROM work WHERE run = ANY($1)
    AND NOT EXISTS (SELECT FROM unnest($2::bigint[], $3::bigint[]) AS j (run, frame) WHERE j.run = work.run AND j.frame = work.frame)
