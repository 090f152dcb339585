LOCK TABLE enterprises, runs, frames, history, payloads, work, outbox, records, idempotency, letters IN ROW EXCLUSIVE MODE
