SELECT id FROM enterprises WHERE id = ANY($1)
