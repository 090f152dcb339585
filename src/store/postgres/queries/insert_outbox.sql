INSERT INTO outbox (run, created_at, notice, due_at, attempts)
SELECT j.run, j.at, j.notice, j.at, 0 FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS j (run, at, notice)
