-- The fences of the pieces of work that a batch answers. The batch: [run, frame].
SELECT r.id AS run, r.n AS n, w.frame AS frame, w.visit AS visit, w.fence AS fence
FROM jsonb_each(?1) AS j
JOIN runs AS r ON r.id = j.value ->> 0
JOIN work AS w ON w.run = r.n AND w.frame = j.value ->> 1
WHERE w.owner IS NOT NULL
