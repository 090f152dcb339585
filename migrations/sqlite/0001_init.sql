-- Times are microseconds since 1970 UTC. Hashes of content are hexadecimal text, hashes of the chain are blobs.

CREATE TABLE definitions (
    n INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    stored_at INTEGER NOT NULL
) STRICT;

CREATE TABLE enterprises (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    partition TEXT NOT NULL,
    customer_email TEXT,
    csm_email TEXT,
    engineer_email TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Values too big to repeat: written once, referred to by the hash of their text.
CREATE TABLE payloads (
    hash TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER payloads_are_never_changed BEFORE UPDATE ON payloads
BEGIN
    SELECT raise(ABORT, 'payloads are known by their hash and never change');
END;

-- state: the header and the root frame, without what stands in columns.
CREATE TABLE runs (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    enterprise TEXT NOT NULL REFERENCES enterprises (id),
    workflow TEXT NOT NULL,
    definition INTEGER NOT NULL REFERENCES definitions (n),
    parent TEXT,
    parent_frame INTEGER,
    parent_visit INTEGER,
    exclusive INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT NOT NULL,
    ended_at INTEGER,
    head BLOB NOT NULL,
    state TEXT NOT NULL
) STRICT;

-- runs_page_of_enterprise.sql
CREATE INDEX runs_of_enterprise ON runs (enterprise, n);
-- runs_page_by_status.sql
CREATE INDEX runs_by_status ON runs (status, n);
-- children.sql, signal_children.sql
CREATE INDEX runs_of_parent ON runs (parent) WHERE parent IS NOT NULL;
-- exclusive_open.sql, and the law that one run at a time changes an enterprise's systems
CREATE UNIQUE INDEX runs_exclusive ON runs (enterprise) WHERE exclusive = 1 AND ended_at IS NULL;

-- Every frame but the root. revision: the revision of the run that wrote the row.
CREATE TABLE frames (
    run INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, frame)
) STRICT, WITHOUT ROWID;

-- Appended in the order of commits, so that a batch touches few pages.
CREATE TABLE history (
    n INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    event TEXT NOT NULL,
    entered TEXT NOT NULL
) STRICT;
-- history_page.sql
CREATE UNIQUE INDEX history_of_run ON history (run, seq);

CREATE TRIGGER history_is_never_changed BEFORE UPDATE ON history
BEGIN
    SELECT raise(ABORT, 'history is append-only');
END;
CREATE TRIGGER history_is_never_deleted BEFORE DELETE ON history
BEGIN
    SELECT raise(ABORT, 'history is append-only');
END;

-- The one piece of work that a frame has. Frame -1 is the run's own timer, frame -2 a word from its parent.
-- owner and lease_until are set together while a worker has it; fence counts its claims.
CREATE TABLE work (
    run INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    visit INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    input TEXT NOT NULL,
    due_at INTEGER,
    held INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    timeout_s INTEGER,
    heartbeat_s INTEGER,
    deadline INTEGER,
    owner TEXT,
    lease_until INTEGER,
    checkpoint TEXT,
    waiting_for TEXT,
    since INTEGER NOT NULL,
    PRIMARY KEY (run, frame)
) STRICT, WITHOUT ROWID;

-- claim.sql: what is due and free
CREATE INDEX work_due ON work (due_at) WHERE owner IS NULL AND held = 0 AND due_at IS NOT NULL;
-- claim.sql: what a dead worker left; expire_leases.sql
CREATE INDEX work_leased ON work (lease_until) WHERE owner IS NOT NULL;

CREATE TABLE outbox (
    n INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    notice TEXT NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL,
    error TEXT
) STRICT;
-- outbox_next.sql: what has not been sent
CREATE INDEX outbox_due ON outbox (due_at, n) WHERE due_at IS NOT NULL;

CREATE TABLE records (
    enterprise TEXT NOT NULL REFERENCES enterprises (id),
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    run TEXT NOT NULL,
    written_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (enterprise, collection, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    run TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- probe_make.sql, probe_drop.sql: empty but inside of a probe. A table of its own, because one that came and went would make
-- every connection prepare all its statements again.
CREATE TABLE probe (
    n INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
