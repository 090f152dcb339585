//! keyferry: the durable workflow engine that moves enterprises onto their own encryption keys and keeps them there.

pub mod access;
pub mod audit;
pub mod aws;
pub mod cli;
pub mod config;
pub mod customer;
pub mod engine;
pub mod forms;
pub mod http;
pub mod keys;
pub mod mail;
pub mod packet;
pub mod sandbox;
pub mod schedule;
mod shell;
pub mod steps;
pub mod store;
pub mod systems;
pub mod telemetry;
pub mod worker;

/// The tests' of this crate and of `tests/` alike.
#[cfg(test)]
#[path = "../tests/support/patience.rs"]
mod patience;
