//! Enterprises and the records that runs leave about them.

use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Deserializer};

use super::{
    Api, Reply,
    extract::{self, Asking, Body, Parameters, committed},
    paging::{Listing, Paging, page_size},
};
use crate::{
    http::problem::Problem,
    worker::{Enterprise, EnterpriseChange, NewEnterprise},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    id: String,
    name: Option<String>,
    partition: Option<String>,
    customer_email: Option<String>,
    csm_email: Option<String>,
    engineer_email: Option<String>,
    #[serde(default)]
    audit_emails: Vec<String>,
}

/// What is left out stays as it is; `null` takes an address away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    customer_email: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    csm_email: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    engineer_email: Option<Option<String>>,
    audit_emails: Option<Vec<String>>,
}

/// A member that is there, `null` or not.
#[expect(clippy::option_option, reason = "a member that is left out is not one that is null")]
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

pub async fn list(State(api): State<Api>, Parameters(paging): Parameters<Paging>) -> Reply {
    let limit = page_size(paging.limit)?;
    let listing = Listing("enterprises");
    let page = api.service.enterprises(limit, listing.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &listing.told(page))
}

/// Adding the same enterprise again is no error and changes nothing, so that a lost answer can be asked for again.
pub async fn add(State(api): State<Api>, asking: Asking, Body(add): Body<Add>) -> Reply {
    let new = NewEnterprise {
        name: add.name.unwrap_or_else(|| add.id.clone()),
        id: add.id,
        partition: add.partition.unwrap_or_else(|| "aws".to_owned()),
        customer_email: add.customer_email,
        csm_email: add.csm_email,
        engineer_email: add.engineer_email,
        audit_emails: add.audit_emails,
    };
    let by = asking.by("engineer");
    let enterprise = committed(async move { api.service.add_enterprise_by(new, by).await }).await?;
    let response = answer(StatusCode::CREATED, &enterprise)?;
    Ok(extract::located(response, "/api/v1/enterprises", &enterprise.id))
}

pub async fn show(State(api): State<Api>, Path(enterprise): Path<String>) -> Reply {
    answer(StatusCode::OK, &api.service.enterprise(&enterprise).await?)
}

/// Changes an enterprise on the version that the caller has seen: two people who correct an address do not undo each other.
pub async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    asking: Asking,
    headers: HeaderMap,
    Body(change): Body<Change>,
) -> Reply {
    if !headers.contains_key(header::IF_MATCH) {
        let detail =
            "If-Match: send the ETag of the enterprise as you have seen it, or `*` to change whatever is there";
        return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "precondition-required", detail));
    }
    let change = EnterpriseChange {
        name: change.name,
        customer_email: change.customer_email,
        csm_email: change.csm_email,
        engineer_email: change.engineer_email,
        audit_emails: change.audit_emails,
    };
    let by = asking.by("engineer");
    let known = by.if_match.clone();
    let changed =
        committed(async move { api.service.change_enterprise(&id, known.as_deref(), change, by).await }).await;
    let changed = changed.map_err(|mut problem| {
        if problem.code == "enterprise-changed" {
            problem.status = StatusCode::PRECONDITION_FAILED;
        }
        problem
    })?;
    answer(StatusCode::OK, &changed)
}

/// What was changed of an enterprise, by whom and when.
pub async fn changes(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Reply {
    let limit = page_size(paging.limit)?;
    let listing = Listing("changes");
    let page = api.service.enterprise_changes(&enterprise, limit, listing.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &listing.told(page))
}

/// An enterprise with its version as the ETag.
fn answer(status: StatusCode, enterprise: &Enterprise) -> Reply {
    let mut response = extract::json(status, enterprise)?;
    if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", enterprise.version)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

pub async fn records(
    State(api): State<Api>,
    Path((enterprise, collection)): Path<(String, String)>,
    Parameters(paging): Parameters<Paging>,
) -> Reply {
    let limit = page_size(paging.limit)?;
    let listing = Listing("records");
    let page = api.service.records(&enterprise, &collection, limit, listing.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &listing.told(page))
}

pub async fn record(
    State(api): State<Api>,
    Path((enterprise, collection, key)): Path<(String, String, String)>,
) -> Reply {
    match api.service.record(&enterprise, &collection, &key).await? {
        Some(record) => extract::json(StatusCode::OK, &record),
        None => Err(Problem::not_found(&format!("record `{key}` in `{collection}` of `{enterprise}`"))),
    }
}

/// The key policy of one region as a file: exactly what the customer applies to the key.
pub async fn key_policy(State(api): State<Api>, Path((enterprise, region)): Path<(String, String)>) -> Reply {
    let Some(record) = api.service.record(&enterprise, "key-policy", &region).await? else {
        return Err(Problem::not_found(&format!("key policy of `{enterprise}` for `{region}` yet")));
    };
    let mut response = format!("{:#}\n", record.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"key-policy-{}.json\"", record.key)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
