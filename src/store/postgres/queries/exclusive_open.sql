SELECT enterprise, id AS run FROM runs WHERE exclusive AND ended_at IS NULL AND enterprise = ANY($1)
