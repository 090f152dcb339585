-- The children that end wake what waits for them. The batch: [child's n, at].
UPDATE work SET due_at = e.at
FROM (SELECT p.n AS run, c.parent_frame AS frame, c.parent_visit AS visit, j.value ->> 1 AS at
      FROM jsonb_each(?) AS j
      JOIN runs AS c ON c.n = j.value ->> 0
      JOIN runs AS p ON p.id = c.parent) AS e
WHERE work.run = e.run AND work.frame = e.frame AND work.visit = e.visit AND work.kind = 'child'
