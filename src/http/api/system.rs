//! What machines ask a server.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde_json::json;

use super::{Api, Reply, extract};
use crate::http::problem::Problem;

/// The API's document, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The process answers.
pub async fn healthz() -> Reply {
    extract::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// The process can do its work: its store takes writes.
pub async fn readyz(State(api): State<Api>) -> Reply {
    let health = api.service.health().await;
    if !health.writable {
        let reason = health.reason.unwrap_or_else(|| "the store takes no writes".to_owned());
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", reason));
    }
    extract::json(StatusCode::OK, &json!({"status": "ready"}))
}

pub async fn metrics(State(api): State<Api>) -> Reply {
    let stats = api.service.stats().await;
    match api.metrics.render() {
        Ok(mut text) => {
            text.push_str(&super::stats::render(stats.as_ref().ok()));
            Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
        }
        Err(error) => {
            tracing::error!(error = %error, "the metrics could not be written");
            Err(Problem::internal())
        }
    }
}

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
