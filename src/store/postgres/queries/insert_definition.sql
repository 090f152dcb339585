INSERT INTO definitions (hash, name, source, stored_at) VALUES ($1, $2, $3, $4) ON CONFLICT (hash) DO NOTHING
