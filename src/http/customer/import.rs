//! Key import: the two calls of the customers' API.

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{post, put},
};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{CustomerApi, LARGEST_BODY};
use crate::{
    access::{Caller, Environment},
    http::{api::extract::Parameters, problem::Problem},
    keys::import::{Algorithm, Asked, Desk, Refusal, RefusalKind, Spec, Uploaded, read_upload},
};

/// The desks of both environments.
#[derive(Debug, Clone)]
pub struct Imports {
    pub production: Desk,
    pub test: Desk,
}

impl Imports {
    fn of(&self, environment: Environment) -> &Desk {
        match environment {
            Environment::Production => &self.production,
            Environment::Test => &self.test,
        }
    }
}

/// Bodies that say nothing.
const EMPTY: [&[u8]; 5] = [b"", b"{}", b"[]", b"null", b"\"\""];
const REQUEST: &str = "/enterprises/{enterprise}/cmk/import-key-request";
const IMPORT: &str = "/enterprises/{enterprise}/cmk/import-key";
/// Where key import is, below the API's prefix.
pub const PATHS: [&str; 2] = [REQUEST, IMPORT];

/// The routes of key import, below the API's prefix; the same for both environments. The caller, its enterprise and its
/// environment are in the request's extensions: the guard has checked them against the path.
pub fn import_routes() -> Router<CustomerApi> {
    Router::new().route(REQUEST, put(request_import)).route(IMPORT, post(import_key))
}

/// What an import request may be told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wishes {
    region: Option<String>,
    instance: Option<String>,
    wrapping_algorithm: Option<String>,
    wrapping_key_spec: Option<String>,
}

async fn request_import(
    State(api): State<CustomerApi>,
    Extension(caller): Extension<Caller>,
    Parameters(wishes): Parameters<Wishes>,
    body: Body,
) -> Result<Response, Problem> {
    // Clients write nothing in many ways. A key that is sent here was sent too early.
    let body = gather(body).await?;
    if !EMPTY.contains(&body.trim_ascii()) {
        return Err(Refusal::request_body_not_empty().judging(&body).into());
    }
    let asked = Asked {
        by: caller.name(),
        enterprise: caller.enterprise,
        region: wishes.region,
        instance: wishes.instance,
        algorithm: word(wishes.wrapping_algorithm, "wrappingAlgorithm", &Algorithm::WORDS, Algorithm::from_word)?,
        spec: word(wishes.wrapping_key_spec, "wrappingKeySpec", &Spec::WORDS, Spec::from_word)?,
    };
    answer(&api.imports.of(caller.environment).request(asked).await?)
}

async fn import_key(
    State(api): State<CustomerApi>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut body = gather(body).await?;
    if !is_json(&headers) {
        return Err(Refusal::content_type_wrong().judging(&body).into());
    }
    let parts = read_upload(&mut body)?;
    drop(body);
    let uploaded = Uploaded { by: caller.name(), enterprise: caller.enterprise, parts };
    answer(&api.imports.of(caller.environment).import(uploaded).await?)
}

fn word<T: Default>(
    given: Option<String>,
    parameter: &str,
    known: &[&str],
    from: impl Fn(&str) -> Option<T>,
) -> Result<T, Refusal> {
    match given {
        None => Ok(T::default()),
        Some(given) => from(&given).ok_or_else(|| Refusal::wrapping_unknown(parameter, known)),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

/// The whole body in one buffer that never moves, so that it leaves no copy when it is zeroized.
async fn gather(body: Body) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let mut whole = Zeroizing::new(Vec::with_capacity(LARGEST_BODY));
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| Refusal::body_lost())?;
        if whole.len() + frame.len() > LARGEST_BODY {
            return Err(Refusal::body_too_large(LARGEST_BODY).judging(&whole));
        }
        whole.extend_from_slice(&frame);
        // The connection's own buffer, unless something else still reads it.
        if let Ok(mut frame) = frame.try_into_mut() {
            frame.as_mut().zeroize();
        }
    }
    Ok(whole)
}

fn answer<T: Serialize>(body: &T) -> Result<Response, Problem> {
    match serde_json::to_vec(body) {
        Ok(bytes) => Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()),
        Err(error) => {
            tracing::error!(error = %error, "an answer could not be written as JSON");
            Err(Problem::internal())
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind {
            RefusalKind::Malformed => StatusCode::BAD_REQUEST,
            RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RefusalKind::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            RefusalKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut problem = Self::new(status, refusal.code, refusal.detail);
        problem.members = *refusal.members;
        if let Some(seconds) = refusal.retry_after {
            problem = problem.retry_after(seconds);
        }
        if !refusal.cure.is_empty() {
            problem = problem.with("cure", refusal.cure.into());
        }
        problem
    }
}
