-- Which installation this is. Each connection asks for it: after a move of the server's address, or of a search_path, it may reach
-- another database than the process was started on.
CREATE TABLE installation (
    id TEXT NOT NULL
);
INSERT INTO installation (id) VALUES (gen_random_uuid()::TEXT);
