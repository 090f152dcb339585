//! What machines ask a server.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde_json::json;

use super::{Machines, Reply, extract};
use crate::http::problem::Problem;

/// The API's document, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The process answers.
pub async fn healthz() -> Reply {
    extract::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// The process can do its work: its store takes writes.
pub async fn readyz(State(asked): State<Machines>) -> Reply {
    let health = asked.service.health().await;
    if !health.writable {
        let reason = health.reason.unwrap_or_else(|| "the store takes no writes".to_owned());
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", reason));
    }
    extract::json(StatusCode::OK, &json!({"status": "ready"}))
}

pub async fn metrics(State(asked): State<Machines>) -> Reply {
    let stats = asked.service.stats().await;
    match asked.metrics.render(super::stats::families(stats)) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()),
        Err(error) => {
            tracing::error!(error = %error, "the metrics could not be written");
            Err(Problem::internal())
        }
    }
}

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
