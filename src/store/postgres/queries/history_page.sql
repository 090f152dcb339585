SELECT h.seq AS seq, h.hash AS hash, h.event AS event, h.entered AS entered
FROM history AS h WHERE h.run = (SELECT n FROM runs WHERE id = $1) AND h.seq > $2 ORDER BY h.seq LIMIT $3
