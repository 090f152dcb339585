//! The definitions that runs can be started with.

use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use http::{StatusCode, header};
use serde_json::json;

use super::{Api, Reply, extract};
use crate::http::problem::Problem;

pub async fn list(State(api): State<Api>) -> Reply {
    let items: Vec<_> =
        api.workflows.iter().map(|(name, workflow)| json!({"name": name, "definition": workflow.definition})).collect();
    extract::json(StatusCode::OK, &json!({"items": items, "next": null}))
}

/// The definition's source, as it was written.
pub async fn show(State(api): State<Api>, Path(name): Path<String>) -> Reply {
    let Some(workflow) = api.workflows.get(&name) else {
        return Err(Problem::not_found(&format!("workflow `{name}`")));
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], workflow.source.clone()).into_response())
}
