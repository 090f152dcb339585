SELECT id, name, partition, customer_email, csm_email, engineer_email, audit_emails, created_at, version FROM enterprises
WHERE id > $1 ORDER BY id LIMIT $2
