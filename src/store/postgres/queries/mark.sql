-- $1 run, $2 revision.
SELECT hash FROM history WHERE run = $1 AND seq = $2
