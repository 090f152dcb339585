SELECT id, parent_frame AS frame, parent_visit AS visit, ended_at IS NULL AS open FROM runs WHERE parent = $1 ORDER BY n
