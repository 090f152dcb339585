-- The batch: [n, expected revision, revision, head, state].
UPDATE runs SET revision = j.value ->> 2, head = unhex(j.value ->> 3), state = j.value ->> 4
FROM jsonb_each(?) AS j
WHERE runs.n = j.value ->> 0 AND runs.revision = j.value ->> 1
