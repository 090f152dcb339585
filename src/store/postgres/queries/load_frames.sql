SELECT body FROM frames WHERE run = $1 ORDER BY frame
