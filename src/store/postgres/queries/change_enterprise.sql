UPDATE enterprises SET name = $3, customer_email = $4, csm_email = $5, engineer_email = $6, audit_emails = $7, version = version + 1
WHERE id = $1 AND version = $2
