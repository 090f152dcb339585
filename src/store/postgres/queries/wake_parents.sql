-- The children that end wake what waits for them. $1 children's n, $2 at.
UPDATE work SET due_at = e.at
FROM (SELECT p.n AS run, c.parent_frame AS frame, c.parent_visit AS visit, j.at AS at
      FROM unnest($1::bigint[], $2::bigint[]) AS j (child, at)
      JOIN runs AS c ON c.n = j.child
      JOIN runs AS p ON p.id = c.parent) AS e
WHERE work.run = e.run AND work.frame = e.frame AND work.visit = e.visit AND work.kind = 'child'
