//! The way to PostgreSQL: certificates, and a pooler on it.

mod pgbouncer;
mod tls;
