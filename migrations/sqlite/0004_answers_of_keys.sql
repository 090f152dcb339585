-- What came of the request that an idempotency key was used for, as JSON. Where no run was started or moved, run is empty.
ALTER TABLE idempotency ADD COLUMN answer TEXT;
