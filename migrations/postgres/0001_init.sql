-- Times are microseconds since 1970 UTC. Hashes of content are hexadecimal text, hashes of the chain are bytes. JSON is kept
-- as the text that was hashed and as text alone: jsonb refuses a NUL that JSON allows, and would write the text anew.
-- Texts are compared byte by byte, as SQLite does.

CREATE TABLE definitions (
    n BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT COLLATE "C" NOT NULL,
    source TEXT NOT NULL,
    stored_at BIGINT NOT NULL
);

CREATE TABLE enterprises (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    partition TEXT NOT NULL,
    customer_email TEXT,
    csm_email TEXT,
    engineer_email TEXT,
    created_at BIGINT NOT NULL
);

-- Values too big to repeat: written once, referred to by the hash of their text.
CREATE TABLE payloads (
    hash TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE FUNCTION payloads_are_never_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payloads are known by their hash and never change';
END $$;
CREATE TRIGGER payloads_are_never_changed BEFORE UPDATE ON payloads
    FOR EACH STATEMENT EXECUTE FUNCTION payloads_are_never_changed();

-- last_run.sql: run numbers, of which a transaction that was taken back leaves gaps.
CREATE SEQUENCE runs_n;

-- state: the header and the root frame, without what stands in columns. Room is left in its pages, so that a turn's update
-- stays on the page and touches no index.
CREATE TABLE runs (
    n BIGINT PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    enterprise TEXT COLLATE "C" NOT NULL REFERENCES enterprises (id),
    workflow TEXT COLLATE "C" NOT NULL,
    definition BIGINT NOT NULL REFERENCES definitions (n),
    parent TEXT COLLATE "C",
    parent_frame BIGINT,
    parent_visit BIGINT,
    exclusive BOOLEAN NOT NULL,
    revision BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    ended_at BIGINT,
    head BYTEA NOT NULL,
    state TEXT NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- runs_page_of_enterprise.sql
CREATE INDEX runs_of_enterprise ON runs (enterprise, n);
-- runs_page_by_status.sql
CREATE INDEX runs_by_status ON runs (status, n);
-- children.sql, check_runs.sql, signal_children.sql
CREATE INDEX runs_of_parent ON runs (parent, n) WHERE parent IS NOT NULL;
-- exclusive_open.sql, and the law that one run at a time changes an enterprise's systems
CREATE UNIQUE INDEX runs_exclusive ON runs (enterprise) WHERE exclusive AND ended_at IS NULL;

-- Every frame but the root. revision: the revision of the run that wrote the row.
CREATE TABLE frames (
    run BIGINT NOT NULL,
    frame BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, frame)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- Appended in the order of commits. Its one index is the one that pages and verification read by: nothing asks for history by
-- time or over runs, so a BRIN index or partitions would be written and never read.
CREATE TABLE history (
    run BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    event TEXT NOT NULL,
    entered TEXT NOT NULL,
    CONSTRAINT history_of_run PRIMARY KEY (run, seq)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

CREATE FUNCTION history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'history is append-only';
END $$;
CREATE TRIGGER history_is_never_changed BEFORE UPDATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION history_is_append_only();
CREATE TRIGGER history_is_never_deleted BEFORE DELETE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION history_is_append_only();
CREATE TRIGGER history_is_never_emptied BEFORE TRUNCATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION history_is_append_only();

-- The one piece of work that a frame has. Frame -1 is the run's own timer, frame -2 a word from its parent.
-- owner and lease_until are set together while a worker has it; fence counts its claims.
-- Rows live from one transition to the next: the table stays as small as what is open, apart from history, and is vacuumed by
-- the number of its dead rows, not by a share of it.
CREATE TABLE work (
    run BIGINT NOT NULL,
    frame BIGINT NOT NULL,
    visit BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    input TEXT NOT NULL,
    due_at BIGINT,
    held BOOLEAN NOT NULL,
    fence BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    timeout_s BIGINT,
    heartbeat_s BIGINT,
    deadline BIGINT,
    owner TEXT COLLATE "C",
    lease_until BIGINT,
    checkpoint TEXT,
    waiting_for TEXT,
    since BIGINT NOT NULL,
    PRIMARY KEY (run, frame)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- claim.sql: what is due and free
CREATE INDEX work_due ON work (due_at) WHERE owner IS NULL AND NOT held AND due_at IS NOT NULL;
-- claim.sql: what a dead worker left; absent.sql, expire_leases.sql
CREATE INDEX work_leased ON work (lease_until) WHERE owner IS NOT NULL;

CREATE TABLE outbox (
    n BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    notice TEXT NOT NULL,
    due_at BIGINT,
    attempts BIGINT NOT NULL,
    error TEXT
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);
-- outbox_next.sql: what has not been sent
CREATE INDEX outbox_due ON outbox (due_at, n) WHERE due_at IS NOT NULL;

CREATE TABLE records (
    enterprise TEXT COLLATE "C" NOT NULL REFERENCES enterprises (id),
    collection TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    run TEXT NOT NULL,
    written_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (enterprise, collection, key)
);

CREATE TABLE idempotency (
    key TEXT COLLATE "C" PRIMARY KEY,
    request TEXT NOT NULL,
    run TEXT NOT NULL
);

-- probe_make.sql, probe_drop.sql: empty but inside of a probe.
CREATE TABLE probe (
    n BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body BYTEA NOT NULL
);
