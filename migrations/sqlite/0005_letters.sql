-- Who else gets the audit's letters, as a JSON array; and how often an enterprise has been written.
ALTER TABLE enterprises ADD COLUMN audit_emails TEXT NOT NULL DEFAULT '[]';
ALTER TABLE enterprises ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

-- What a notice of the outbox has become: a letter to each of its readers, delivered by itself.
-- state: due, sent, dead, withdrawn. about: the letter that is dead, when this one tells of that.
CREATE TABLE letters (
    n INTEGER PRIMARY KEY,
    notice INTEGER NOT NULL,
    run INTEGER NOT NULL,
    enterprise TEXT NOT NULL,
    reader TEXT NOT NULL,
    about INTEGER,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER,
    held_until INTEGER,
    attempts INTEGER NOT NULL,
    failing_since INTEGER,
    address TEXT,
    error TEXT,
    ended_at INTEGER
) STRICT;
-- insert_letters.sql: a notice becomes one letter a reader, and one letter tells of a dead one
CREATE UNIQUE INDEX letters_of_notice ON letters (notice, reader, coalesce(about, 0));
-- letters_hold.sql: what is due
CREATE INDEX letters_due ON letters (due_at, n) WHERE due_at IS NOT NULL;
-- letters_hold.sql: one at a time a reader
CREATE INDEX letters_of_reader ON letters (enterprise, reader, due_at, n) WHERE due_at IS NOT NULL;
-- letters_page.sql, stats.sql
CREATE INDEX letters_by_state ON letters (state, n) WHERE state IN ('due', 'dead');
-- letters_of_runs.sql, withdraw_letters.sql
CREATE INDEX letters_of_run ON letters (run, n) WHERE state IN ('due', 'dead');
