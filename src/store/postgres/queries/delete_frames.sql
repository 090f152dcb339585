DELETE FROM frames USING unnest($1::bigint[], $2::bigint[]) AS j (run, frame)
WHERE frames.run = j.run AND frames.frame = j.frame
