//! Enterprises and the records that runs leave about them.

use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{
    Api, Reply,
    extract::{self, Asking, Body, Paging, Parameters, committed, page_size},
};
use crate::{http::problem::Problem, worker::NewEnterprise};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    id: String,
    name: Option<String>,
    partition: Option<String>,
    customer_email: Option<String>,
    csm_email: Option<String>,
    engineer_email: Option<String>,
}

pub async fn list(State(api): State<Api>, Parameters(paging): Parameters<Paging>) -> Reply {
    let limit = page_size(paging.limit)?;
    extract::json(StatusCode::OK, &api.service.enterprises(limit, paging.cursor).await?)
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
    };
    let by = asking.by("engineer");
    let enterprise = committed(async move { api.service.add_enterprise_by(new, by).await }).await?;
    let response = extract::json(StatusCode::CREATED, &enterprise)?;
    Ok(extract::located(response, "/api/v1/enterprises", &enterprise.id))
}

pub async fn show(State(api): State<Api>, Path(enterprise): Path<String>) -> Reply {
    extract::json(StatusCode::OK, &api.service.enterprise(&enterprise).await?)
}

pub async fn records(
    State(api): State<Api>,
    Path((enterprise, collection)): Path<(String, String)>,
    Parameters(paging): Parameters<Paging>,
) -> Reply {
    let limit = page_size(paging.limit)?;
    let page = api.service.records(&enterprise, &collection, limit, paging.cursor).await?;
    extract::json(StatusCode::OK, &page)
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
