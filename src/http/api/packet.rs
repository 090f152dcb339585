//! The information packet of an enterprise.

use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Api, Reply,
    api_keys::{administrator, key_days, link_hours, networks},
    extract::{Asking, Body, Parameters, Whole, committed},
};
use crate::{
    access::{Environment, HandoverOrder},
    http::problem::Problem,
    packet::{Format, Link, Matter, render},
    worker::RunFilter,
};

/// Hours that the one-time links of a packet wait when the request does not say.
const LINK_HOURS: u32 = 7 * 24;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    format: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithLinks {
    format: Option<String>,
    valid_hours: Option<Whole>,
    key_expires_in_days: Option<Whole>,
    #[serde(default)]
    networks: Vec<String>,
}

/// The packet alone; the links are sent on another way.
pub async fn without_links(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    Parameters(asked): Parameters<Asked>,
) -> Reply {
    packet(&api, &enterprise, format(asked.format.as_deref())?, &[]).await
}

/// The packet with new one-time links to a test and a production key.
pub async fn with_links(
    State(api): State<Api>,
    Path(enterprise): Path<String>,
    asking: Asking,
    Body(asked): Body<WithLinks>,
) -> Reply {
    let format = format(asked.format.as_deref())?;
    let networks = networks(&asked.networks)?;
    let (key_days, valid_hours) =
        (key_days(asked.key_expires_in_days.as_ref())?, link_hours(asked.valid_hours.as_ref(), LINK_HOURS)?);
    let by = administrator(&api, asking)?;
    // The first link stands for the packet: where it was made before, the packet was told before.
    let mut once = by.once(&json!(["packet", enterprise, asked]));
    let mut links = Vec::new();
    for environment in [Environment::Test, Environment::Production] {
        let order = HandoverOrder {
            enterprise: enterprise.clone(),
            environment,
            networks: networks.clone(),
            key_days,
            valid_hours,
            by: by.actor.name.clone(),
            idempotency_key: once.take(),
        };
        let access = api.access.clone();
        let made = committed(async move { access.hand_over(order).await }).await?;
        let link = made.link(&api.config.customer.public_url).to_string();
        links.push(Link { environment, link, expires_at: made.expires_at });
    }
    packet(&api, &enterprise, format, &links).await
}

fn format(word: Option<&str>) -> Result<Format, Problem> {
    let word = word.unwrap_or("html");
    Format::from_word(word).ok_or_else(|| {
        let detail = format!("format: `{word}` is not html or markdown");
        Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail)
    })
}

async fn packet(api: &Api, enterprise: &str, format: Format, links: &[Link]) -> Reply {
    let enterprise = api.service.enterprise(enterprise).await?;
    let regions = regions(api, &enterprise.id).await?;
    let matter =
        Matter { config: &api.config, enterprise: &enterprise, regions: &regions, links, at: api.access.now() };
    let text = render(&matter, format).map_err(|error| {
        tracing::error!(error = %error, "a packet cannot be written");
        Problem::internal()
    })?;
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    let name = format!("inline; filename=\"{}-key-import.{}\"", enterprise.id, format.ending());
    if let Ok(value) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// The regions that were agreed: those of the keys that are in use, or those that the newest run's form was answered with.
async fn regions(api: &Api, enterprise: &str) -> Result<Vec<String>, Problem> {
    if let Some(custody) = api.service.record(enterprise, "custody", "current").await?
        && let Some(regions) = chosen(custody.body.get("plan"))
    {
        return Ok(regions);
    }
    let filter = RunFilter { enterprise: Some(enterprise.to_owned()), limit: Some(20), ..RunFilter::default() };
    for run in api.service.runs(filter).await?.items.into_iter().filter(|run| run.parent.is_none()) {
        // The regions are asked for first.
        let rows = api.service.history(&run.id, 50, None).await?.items;
        let mut answers = rows.iter().filter_map(|row| chosen(find_answer(&row.event)));
        if let Some(regions) = answers.next_back() {
            return Ok(regions);
        }
    }
    Ok(Vec::new())
}

/// The answer that an event of history holds, if it holds one.
fn find_answer(event: &Value) -> Option<&Value> {
    match event {
        Value::Object(members) => members.get("answer").or_else(|| members.values().find_map(find_answer)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// The regions of a plan, the primary first.
fn chosen(plan: Option<&Value>) -> Option<Vec<String>> {
    let plan = plan?;
    let primary = plan.get("primary")?.as_str()?;
    let named = plan.get("regions")?.as_array()?.iter().filter_map(Value::as_str);
    let others = named.filter(|region| *region != primary);
    Some(std::iter::once(primary).chain(others).map(ToOwned::to_owned).collect())
}
