//! Durable state: one atomic commit for everything a turn decided.
