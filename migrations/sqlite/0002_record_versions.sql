-- How often a record has been written: who changes one says which version it was read at.
ALTER TABLE records ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

-- find_record.sql
CREATE INDEX records_by_key ON records (collection, key);
