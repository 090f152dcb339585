//! Audits: the run `compliance-audit`, the reports that runs left, and what engineers decide about them.

use axum::extract::{Path, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{
    Api, Reply,
    extract::{self, Acting, Asking, Body, IdempotencyKey, Parameters, Whole, committed, within},
    paging::{Listing, Paging, page_size},
    runs,
};
use crate::{audit, http::problem::Problem, worker::StartRun};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// The id that the newest report gives it.
    doubt: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reschedule {
    every_days: Whole,
}

pub async fn start(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    acting: Acting,
    IdempotencyKey(idempotency_key): IdempotencyKey,
) -> Reply {
    let start = StartRun {
        enterprise,
        workflow: audit::WORKFLOW.to_owned(),
        input: json!({}),
        actor: acting.or("engineer"),
        idempotency_key,
    };
    let run = committed(async move {
        if let Some(run) = api.service.started(&start).await? {
            return Ok(run);
        }
        audit::require_custody(&api.service, &start.enterprise).await?;
        api.service.start_run(start).await
    })
    .await?;
    runs::started(&run)
}

pub async fn list(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Reply {
    let limit = page_size(paging.limit)?;
    let listing = Listing("audits");
    let page = audit::reports(&api.service, &enterprise, limit, listing.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &listing.told(page))
}

pub async fn show(State(api): State<Api>, Path((enterprise, key)): Path<(String, String)>) -> Reply {
    match audit::find(&api.service, &enterprise, &key).await? {
        Some(record) => extract::json(StatusCode::OK, &record),
        None => Err(Problem::not_found(&format!("report `{key}` of `{enterprise}`"))),
    }
}

pub async fn decisions(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Reply {
    let limit = page_size(paging.limit)?;
    let listing = Listing("audit-decisions");
    let page = api.service.records(&enterprise, audit::DECISIONS, limit, listing.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &listing.told(page))
}

pub async fn decide(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    asking: Asking,
    Body(Decide { doubt, reason }): Body<Decide>,
) -> Reply {
    let (by, now) = (asking.by("engineer"), api.access.now());
    let decide = async move { audit::decide(&api.service, &enterprise, &doubt, &reason, (&by, now)).await };
    let decision = committed(decide).await?;
    extract::json(StatusCode::OK, &decision)
}

pub async fn schedule(State(api): State<Api>, Path(enterprise): Path<String>) -> Reply {
    match audit::scheduled(&api.service, &enterprise).await? {
        Some(schedule) => extract::json(StatusCode::OK, &schedule),
        None => Err(Problem::not_found(&format!("schedule of `{enterprise}` before it is onboarded"))),
    }
}

pub async fn reschedule(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    asking: Asking,
    Body(Reschedule { every_days }): Body<Reschedule>,
) -> Reply {
    let every_days = within("every_days", Some(&every_days), 1..=audit::LONGEST_DAYS)?.unwrap_or_default();
    let (by, now) = (asking.by("engineer"), api.access.now());
    let change = async move { audit::reschedule(&api.service, &enterprise, every_days, (&by, now)).await };
    let changed = committed(change).await?;
    extract::json(StatusCode::OK, &changed)
}
