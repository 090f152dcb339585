-- Newest first. ?1 enterprise, ?2 workflow, ?3 status, each or null; ?4 before n; ?5 at most.
SELECT n, id FROM runs
WHERE n < ?4 AND (?1 IS NULL OR enterprise = ?1) AND (?2 IS NULL OR workflow = ?2) AND (?3 IS NULL OR status = ?3)
ORDER BY n DESC LIMIT ?5
