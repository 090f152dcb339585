//! Runs: starting, looking.

use axum::{
    extract::{Path, State},
    response::IntoResponse as _,
};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api, Reply,
    extract::{self, Acting, Body, IdempotencyKey, Parameters, committed},
    paging::{Listing, Paging, page_size},
};
use crate::{
    audit,
    engine::{self, Definition, DiagramFormat, Highlight},
    http::Problem,
    keys::{
        import::{REIMPORT, start_reimport},
        watch,
    },
    worker::{ErrorKind, RunFilter, RunView, Service, ServiceError, StartRun},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    workflow: String,
    input: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    enterprise: Option<String>,
    workflow: Option<String>,
    status: Option<crate::engine::Standing>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub async fn start(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    acting: Acting,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Body(start): Body<Start>,
) -> Reply {
    let start = StartRun {
        enterprise,
        workflow: start.workflow,
        input: start.input.unwrap_or_else(|| json!({})),
        actor: acting.or("engineer"),
        idempotency_key,
    };
    let run = committed(async move {
        if ONBOARDINGS.contains(&start.workflow.as_str()) {
            refuse_while_lost(&api.service, &start.enterprise).await?;
        }
        match start.workflow.as_str() {
            REIMPORT => start_reimport(&api.service, start).await,
            audit::WORKFLOW => {
                audit::require_custody(&api.service, &start.enterprise).await?;
                api.service.start_run(start).await
            }
            _ => api.service.start_run(start).await,
        }
    })
    .await?;
    started(&run)
}

/// Workflows that move data, which nothing can do whose key is lost.
const ONBOARDINGS: [&str; 2] = ["customer-managed", "vendor-managed"];

/// A run that would find nothing that it can read is refused at once.
async fn refuse_while_lost(service: &Service, enterprise: &str) -> Result<(), ServiceError> {
    let lost = watch::lost(service, enterprise).await?;
    let Some(first) = lost.first() else { return Ok(()) };
    let message = format!(
        "the key {} of {enterprise} {} since {}: nothing under it can be read or moved. keyferry audit keys {enterprise} shows its keys; \
         make it usable again first, then start the run",
        first.arn,
        first.is.state.words(),
        first.is.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    );
    Err(ServiceError::new(ErrorKind::Conflict, "key-lost", message).with(json!(lost)))
}

/// The answer to a started run.
pub fn started(run: &RunView) -> Reply {
    Ok(extract::located(extract::run_answer(StatusCode::CREATED, run)?, "/api/v1/runs", &run.id))
}

pub async fn list(State(api): State<Api>, Parameters(filter): Parameters<Filter>) -> Reply {
    let (limit, listing) = (page_size(filter.limit)?, Listing("runs"));
    let filter = RunFilter {
        enterprise: filter.enterprise,
        workflow: filter.workflow,
        status: filter.status,
        limit: Some(limit),
        cursor: listing.place(filter.cursor)?,
    };
    extract::json(StatusCode::OK, &listing.told(api.service.runs(filter).await?))
}

/// What the open form of that name was given: what the answer is about.
pub async fn form(State(api): State<Api>, Path((run, form)): Path<(String, String)>) -> Reply {
    extract::json(StatusCode::OK, &api.service.form_input(&run, &form).await?)
}

pub async fn show(State(api): State<Api>, Path(run): Path<String>) -> Reply {
    extract::run_answer(StatusCode::OK, &api.service.run_with_letters(&run).await?)
}

pub async fn history(State(api): State<Api>, Path(run): Path<String>, Parameters(paging): Parameters<Paging>) -> Reply {
    let limit = page_size(paging.limit)?;
    let listing = Listing("history");
    let page = api.service.history(&run, limit, listing.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &listing.told(page))
}

/// What a drawing of the run needs.
pub async fn diagram(State(api): State<Api>, Path(run): Path<String>) -> Reply {
    extract::json(StatusCode::OK, &api.service.diagram_state(&run).await?)
}

/// The run's own definition, drawn.
pub async fn drawing(State(api): State<Api>, Path(run): Path<String>) -> Reply {
    let state = api.service.diagram_state(&run).await?;
    let loaded = Definition::load(&state.source).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "definition-unreadable", "The run's definition cannot be read")
    })?;
    let highlight = Highlight::of(state.entered, state.current);
    let drawn = engine::diagram(&loaded.definition, &highlight, DiagramFormat::Svg);
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], drawn).into_response())
}

/// Folds the history anew and compares: 200 whatever it finds, `ok` says what.
pub async fn verification(State(api): State<Api>, Path(run): Path<String>) -> Reply {
    extract::json(StatusCode::OK, &api.service.verify(&run).await?)
}
