SELECT hash, body FROM payloads WHERE hash = ANY($1)
