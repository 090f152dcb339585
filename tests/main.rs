//! The one test binary; its modules mirror `src/`.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod architecture;
mod cli;
mod customer;
mod demo;
mod engine;
mod estates;
mod fire;
mod http;
mod keys;
mod packet;
mod sandbox;
mod steps;
mod store;
mod support;
mod telemetry;
