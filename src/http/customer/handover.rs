//! The page behind a one-time link. Opening it changes nothing; its button posts the link's code and shows the key once.
//!
//! A script moves the code from the link's fragment into the form. Without scripts the person pastes the link, or the code,
//! into the field.

use axum::{
    body::{Body, Bytes},
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::SecondsFormat;
use http::{HeaderValue, StatusCode, header};
use minijinja::{AutoEscape, Environment as Templates, Value, context};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Pages, guard};
use crate::{
    access::{Environment, NotHandedOver},
    http::problem::Problem,
};

const PAGE: &str = include_str!("templates/handover.html");
const SCRIPT: &str = include_str!("templates/handover.js");
const STYLE: &str = include_str!("templates/handover.css");
/// The largest form that is taken, in bytes.
const LARGEST_FORM: usize = 4 * 1024;

/// The form. It is the same for every id: whether there is such a link is told to one who has its code alone.
pub async fn page(State(api): State<Pages>) -> Response {
    answer(&api, StatusCode::OK, context! { step => "ask" })
}

/// Burns the link and shows the key.
pub async fn burn(State(api): State<Pages>, Path(id): Path<String>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(address) = guard::address(&api.access, &head) else {
        return Problem::internal().into_response();
    };
    let Some(code) = posted_code(body).await else {
        let told =
            context! { step => "ask", wrong => "The form did not arrive whole. Paste the link or its code again." };
        return answer(&api, StatusCode::BAD_REQUEST, told);
    };
    let access = api.access.clone();
    // On a task of its own: a client that goes away must not stop it between the decision and the commit.
    let burned = tokio::spawn(async move { access.burn(&id, &code, address).await }).await;
    match burned {
        Ok(Ok((view, key))) => {
            let endpoint = match view.environment {
                Environment::Production => &api.config.customer.public_url,
                Environment::Test => &api.config.customer.test_public_url,
            };
            let shown = context! {
                step => "key",
                key => key.reveal(),
                enterprise => view.enterprise,
                environment => view.environment.word(),
                endpoint => endpoint,
                prefix => api.config.vendor.customer_api_prefix.as_str(),
                networks => view.networks.texts(),
                expires_at => view.expires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            };
            answer(&api, StatusCode::OK, shown)
        }
        Ok(Err(refused)) => refusal(&api, refused),
        Err(error) => {
            tracing::error!(error = %error, "the handing over of a key ended in a panic");
            Problem::internal().into_response()
        }
    }
}

/// The code in a posted form: the field's text, or what stands behind `#` in it when somebody pasted the whole link.
async fn posted_code(body: Body) -> Option<Zeroizing<String>> {
    let body: Bytes = axum::body::to_bytes(body, LARGEST_FORM).await.ok()?;
    let (_, text) = form_urlencoded::parse(&body).find(|(name, _)| name == "code")?;
    let code = text.rsplit('#').next().unwrap_or_default().trim();
    (!code.is_empty()).then(|| Zeroizing::new(code.to_owned()))
}

fn refusal(api: &Pages, refused: NotHandedOver) -> Response {
    let (status, told) = match refused {
        NotHandedOver::Unknown => (
            StatusCode::NOT_FOUND,
            "There is no such link, or its code is incomplete. Copy the whole link from where you got it.".to_owned(),
        ),
        NotHandedOver::Expired { at } => (
            StatusCode::GONE,
            format!("The link has expired at {}. Ask for a new one.", at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        ),
        NotHandedOver::Used(burned) => (
            StatusCode::GONE,
            format!(
                "The link was used at {} from {}. If that was not you or your colleagues, say so at once: the API key {} must then be revoked.",
                burned.at.to_rfc3339_opts(SecondsFormat::Secs, true),
                burned.address,
                burned.key_id
            ),
        ),
        NotHandedOver::Limited { seconds } => {
            let mut response = answer(
                api,
                StatusCode::TOO_MANY_REQUESTS,
                context! { step => "ask", wrong => format!("Too many requests. Wait {seconds} seconds.") },
            );
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            return response;
        }
        NotHandedOver::Failed(error) if error.code == "two-api-keys-live" => (
            StatusCode::CONFLICT,
            "No further API key can be made while two are live. The link stays good: ask for one of them to be revoked, then open it again."
                .to_owned(),
        ),
        NotHandedOver::Failed(error) => {
            tracing::error!(error = %error, "a key could not be handed over");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "The key could not be made just now. The link stays good: try again in a minute.".to_owned(),
            )
        }
    };
    answer(api, status, context! { step => "refused", wrong => told })
}

fn answer(api: &Pages, status: StatusCode, told: Value) -> Response {
    let vendor = context! {
        vendor => api.config.vendor.name.as_str(),
        support_email => api.config.vendor.support_email.as_str(),
        script => Value::from_safe_string(SCRIPT.to_owned()),
        style => Value::from_safe_string(STYLE.to_owned()),
        ..told
    };
    let mut templates = Templates::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    let page = match templates.render_str(PAGE, vendor) {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(error = %error, "the page of one-time links cannot be written");
            return Problem::internal().into_response();
        }
    };
    let mut response = (status, page).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    if let Ok(policy) = HeaderValue::from_str(&content_policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// The page's own style and script, by their hashes, and nothing else.
fn content_policy() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}
