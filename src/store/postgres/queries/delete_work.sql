DELETE FROM work USING unnest($1::bigint[], $2::bigint[]) AS j (run, frame)
WHERE work.run = j.run AND work.frame = j.frame
