-- $1 owner. Held until the connection ends, which the server sees at once when its process dies.
SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS held
