//! HTTP: the operators' API under `/api/v1`, and what machines ask a server: health, metrics, its OpenAPI document.
//!
//! Handlers say what a request means and nothing else: what may happen is decided in [`crate::worker::Service`]. Every
//! answer that is not a success is a problem document (RFC 9457) with a stable `code`. A request that changes state runs
//! on a task of its own, so that a client that goes away cannot stop it between its decision and its commit.

pub mod api;
pub mod customer;

mod auth;
mod layers;
mod meant;
mod problem;
mod server;
pub mod strict;

pub use api::{Api, Machines, Workflow, machines_router, router};
pub use auth::{AdminToken, TokenError};
pub use problem::Problem;
pub use server::{Limits, serve};
