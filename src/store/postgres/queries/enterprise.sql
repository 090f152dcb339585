SELECT id, name, partition, customer_email, csm_email, engineer_email, created_at FROM enterprises WHERE id = $1
