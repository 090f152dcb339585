INSERT INTO enterprises (id, name, partition, customer_email, csm_email, engineer_email, audit_emails, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING
