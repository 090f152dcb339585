SELECT revision FROM runs WHERE id = ?1
