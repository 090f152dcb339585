-- Owners of work whose lock nobody holds: presence.sql takes it, and the server lets it go with the connection.
SELECT w.owner AS owner FROM (SELECT DISTINCT owner FROM work WHERE owner IS NOT NULL AND lease_until > 0) AS w
WHERE NOT EXISTS (
    SELECT FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(w.owner, 0))
