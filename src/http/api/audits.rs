//! Audits: the run `compliance-audit` and the reports that runs left.

use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::json;

use super::{
    Api, Reply,
    extract::{self, Acting, IdempotencyKey, Paging, Parameters, committed, page_size},
    runs,
};
use crate::{http::problem::Problem, worker::StartRun};

/// The collection in which runs leave their reports.
const REPORTS: &str = "report";

pub async fn start(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    acting: Acting,
    IdempotencyKey(idempotency_key): IdempotencyKey,
) -> Reply {
    let start = StartRun {
        enterprise,
        workflow: "compliance-audit".to_owned(),
        input: json!({}),
        actor: acting.or("engineer"),
        idempotency_key,
    };
    let run = committed(async move { api.service.start_run(start).await }).await?;
    runs::started(&run)
}

pub async fn list(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Reply {
    let limit = page_size(paging.limit)?;
    let page = api.service.records(&enterprise, REPORTS, limit, paging.cursor).await?;
    extract::json(StatusCode::OK, &page)
}

pub async fn show(State(api): State<Api>, Path((enterprise, key)): Path<(String, String)>) -> Reply {
    match api.service.record(&enterprise, REPORTS, &key).await? {
        Some(record) => extract::json(StatusCode::OK, &record),
        None => Err(Problem::not_found(&format!("report `{key}` of `{enterprise}`"))),
    }
}
