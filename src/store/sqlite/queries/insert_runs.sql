INSERT INTO runs (n, id, enterprise, workflow, definition, parent, parent_frame, parent_visit, exclusive, revision, status, ended_at, head, state)
SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3,
    (SELECT d.n FROM definitions AS d WHERE d.hash = j.value ->> 4),
    j.value ->> 5, j.value ->> 6, j.value ->> 7, j.value ->> 8, j.value ->> 9, j.value ->> 10, j.value ->> 11,
    unhex(j.value ->> 12), j.value ->> 13
FROM jsonb_each(?) AS j
