//! The customer's own audit reports, for an API key of the scope `audits`.

use axum::{
    Extension, Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::StatusCode;
use serde_json::{Value, json};

use super::CustomerApi;
use crate::{
    access::Caller,
    audit,
    http::{
        api::{
            extract::Parameters,
            paging::{Listing, Paging, page_size},
        },
        problem::Problem,
    },
    worker::StoredRecord,
};

const LIST: &str = "/enterprises/{enterprise}/audits";
const SHOW: &str = "/enterprises/{enterprise}/audits/{report}";
/// Where the reports are, below the API's prefix.
pub const PATHS: [&str; 2] = [LIST, SHOW];

pub fn audit_routes() -> Router<CustomerApi> {
    Router::new().route(LIST, get(list)).route(SHOW, get(show))
}

async fn list(
    State(api): State<CustomerApi>,
    Extension(caller): Extension<Caller>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Response, Problem> {
    let limit = page_size(paging.limit)?;
    let listing = Listing("audits");
    let page =
        listing.told(audit::reports(&api.service, &caller.enterprise, limit, listing.place(paging.cursor)?).await?);
    let brief = |record: &StoredRecord| {
        let body = &record.body;
        json!({
            "name": body.get("name"), "generatedAt": body.get("generated_at"),
            "conclusion": body.pointer("/summary/conclusion"),
            "deviations": body.get("deviations").and_then(Value::as_array).map(Vec::len),
        })
    };
    let items: Vec<Value> = page.items.iter().map(brief).collect();
    Ok((StatusCode::OK, axum::Json(json!({ "items": items, "next": page.next }))).into_response())
}

/// The report itself, as its schema says. `latest` is the newest.
async fn show(
    State(api): State<CustomerApi>,
    Extension(caller): Extension<Caller>,
    Path((_, report)): Path<(String, String)>,
) -> Result<Response, Problem> {
    match audit::find(&api.service, &caller.enterprise, &report).await? {
        Some(record) => Ok((StatusCode::OK, axum::Json(record.body)).into_response()),
        None => Err(Problem::not_found(&format!("report `{report}`"))),
    }
}
