SELECT pg_notify('keyferry', $1)
