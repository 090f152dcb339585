//! API keys of enterprises, one-time links to them, and the trail of their use.

use std::ops::RangeInclusive;

use axum::extract::{Path, State};
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Api, Reply,
    extract::{self, Asking, Body, Parameters, Whole, committed, within},
    paging::{Listing, Paging, page_size},
};
use crate::{
    access::{ApiKey, Environment, Handover, HandoverOrder, KeyOrder, KeyScope, KeyView, Networks, Rotation},
    http::problem::Problem,
    worker::{Act, By},
};

/// Hours that a one-time link waits to be opened when the request does not say.
const LINK_HOURS: u32 = 72;
/// Days that a key may live.
const KEY_DAYS: RangeInclusive<u32> = 1..=ApiKey::LONGEST_DAYS;
/// Hours that a key may live on beside its successor: a year.
const OLD_KEY_HOURS: RangeInclusive<u32> = 1..=366 * 24;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    environment: Environment,
    #[serde(default)]
    scope: KeyScope,
    expires_at: Option<DateTime<Utc>>,
    expires_in_days: Option<Whole>,
    #[serde(default)]
    networks: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    expires_at: Option<DateTime<Utc>>,
    expires_in_days: Option<Whole>,
    old_expires_in_hours: Option<Whole>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    environment: Environment,
    key_expires_in_days: Option<Whole>,
    #[serde(default)]
    networks: Vec<String>,
    valid_hours: Option<Whole>,
}

pub async fn list(State(api): State<Api>, Path(enterprise): Path<String>) -> Reply {
    let items = api.access.keys(&enterprise).await?;
    extract::json(StatusCode::OK, &json!({ "items": items, "next": null }))
}

pub async fn show(State(api): State<Api>, Path((enterprise, id)): Path<(String, String)>) -> Reply {
    extract::json(StatusCode::OK, &api.access.key(&enterprise, &id).await?)
}

pub async fn create(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    asking: Asking,
    Body(create): Body<Create>,
) -> Reply {
    let by = administrator(&api, asking)?;
    let idempotency_key = by.once(&json!(["create-api-key", enterprise, create]));
    let order = KeyOrder {
        enterprise,
        environment: create.environment,
        scope: create.scope,
        networks: networks(&create.networks)?,
        expires_at: end(create.expires_at, create.expires_in_days.as_ref(), &api)?,
        replaces: None,
        by: by.actor.name,
        idempotency_key,
    };
    let (view, key) = committed(async move { api.access.create_key(order).await }).await?;
    told(&view, &key)
}

pub async fn rotate(
    State(api): State<Api>,
    Path((enterprise, id)): Path<(String, String)>,
    asking: Asking,
    Body(rotate): Body<Rotate>,
) -> Reply {
    let by = administrator(&api, asking)?;
    let idempotency_key = by.once(&json!(["rotate-api-key", enterprise, id, rotate]));
    let hours = within("old_expires_in_hours", rotate.old_expires_in_hours.as_ref(), OLD_KEY_HOURS)?;
    let rotation = Rotation {
        enterprise,
        id,
        expires_at: end(rotate.expires_at, rotate.expires_in_days.as_ref(), &api)?,
        old_expires_at: hours.map(|hours| api.access.now() + TimeDelta::hours(i64::from(hours))),
        by: by.actor.name,
        idempotency_key,
    };
    let (view, key) = committed(async move { api.access.rotate_key(rotation).await }).await?;
    told(&view, &key)
}

pub async fn revoke(
    State(api): State<Api>,
    Path((enterprise, id)): Path<(String, String)>,
    asking: Asking,
    Body(revoke): Body<Revoke>,
) -> Reply {
    let reason = revoke.reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > 1000 {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-body",
            "reason: say in 1 to 1000 characters why the key is revoked",
        ));
    }
    let by = administrator(&api, asking)?;
    let once = by.once(&json!(["revoke-api-key", enterprise, id, reason]));
    let name = by.actor.name;
    let change = async move { api.access.revoke_key_once(&enterprise, &id, &reason, &name, once).await };
    let view = committed(change).await?;
    extract::json(StatusCode::OK, &view)
}

pub async fn hand_over(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    asking: Asking,
    Body(asked): Body<HandOver>,
) -> Reply {
    let by = administrator(&api, asking)?;
    let idempotency_key = by.once(&json!(["hand-over", enterprise, asked]));
    let order = HandoverOrder {
        enterprise,
        environment: asked.environment,
        networks: networks(&asked.networks)?,
        key_days: key_days(asked.key_expires_in_days.as_ref())?,
        valid_hours: link_hours(asked.valid_hours.as_ref(), LINK_HOURS)?,
        by: by.actor.name,
        idempotency_key,
    };
    let public_url = api.config.customer.public_url.clone();
    let made = committed(async move { api.access.hand_over(order).await }).await?;
    let body = json!({
        "id": made.id,
        "environment": made.environment,
        "link": made.link(&public_url).as_str(),
        "expires_at": made.expires_at,
    });
    extract::json(StatusCode::CREATED, &body)
}

pub async fn trail(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Reply {
    let limit = page_size(paging.limit)?;
    let listing = Listing("trail");
    let page = api.access.trail(&enterprise, limit, listing.place(paging.cursor)?).await?;
    extract::json(StatusCode::OK, &listing.told(page))
}

/// Who changes what is known of an enterprise, if the service lets them.
pub fn administrator(api: &Api, asking: Asking) -> Result<By, Problem> {
    let by = asking.by("engineer");
    api.service.authorize(&by.actor, Act::Administer)?;
    Ok(by)
}

/// The one answer that holds a key.
fn told(view: &KeyView, key: &ApiKey) -> Reply {
    let body = json!({
        "id": view.id,
        "key": key.reveal(),
        "enterprise": view.enterprise,
        "environment": view.environment,
        "expires_at": view.expires_at,
        "networks": view.networks,
        "replaces": view.replaces,
    });
    let response = extract::json(StatusCode::CREATED, &body)?;
    Ok(extract::located(response, &format!("/api/v1/enterprises/{}/api-keys", view.enterprise), &view.id))
}

pub fn networks(texts: &[String]) -> Result<Networks, Problem> {
    Networks::parse(texts).map_err(|wrong| {
        let findings: Vec<_> = wrong
            .iter()
            .map(|text| {
                json!({ "pointer": "/networks", "message": format!("`{text}` is not a network such as 192.0.2.0/24 or 2001:db8::/32") })
            })
            .collect();
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "networks-invalid", "A network cannot be understood.")
            .with("findings", json!(findings))
    })
}

fn end(at: Option<DateTime<Utc>>, days: Option<&Whole>, api: &Api) -> Result<Option<DateTime<Utc>>, Problem> {
    let days = within("expires_in_days", days, KEY_DAYS)?;
    if at.is_some() && days.is_some() {
        let detail = "Give `expires_at` or `expires_in_days`, not both.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "expiry-invalid", detail));
    }
    Ok(at.or_else(|| days.map(|days| api.access.now() + TimeDelta::days(i64::from(days)))))
}

/// How many days a key of a one-time link lives; none without end.
pub fn key_days(asked: Option<&Whole>) -> Result<Option<u32>, Problem> {
    within("key_expires_in_days", asked, KEY_DAYS)
}

/// How many hours a one-time link waits to be opened.
pub fn link_hours(asked: Option<&Whole>, default: u32) -> Result<u32, Problem> {
    Ok(within("valid_hours", asked, 1..=Handover::LONGEST_HOURS)?.unwrap_or(default))
}
