//! What a request says, read strictly: an unknown member or parameter is refused by name, so that a typo cannot pass as a
//! default.

use std::{future::Future, ops::RangeInclusive};

use axum::{
    extract::{FromRequest, FromRequestParts, Query, Request},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Number, Value, json};

use super::{Api, LARGEST_BODY, Reply};
use crate::{
    engine::Actor,
    http::{problem::Problem, strict},
    worker::{By, RunView, ServiceError, Visit},
};

/// The name under which the bootstrap administrator's token acts.
const ADMINISTRATOR: &str = "admin";
/// The header by which the administrator acts in another role.
const ACTOR_HEADER: &str = "keyferry-actor";
const ROLES: [&str; 4] = ["admin", "engineer", "csm", "customer"];

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Api) -> Result<Self, Problem> {
        let json =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| {
                let media = kind.split(';').next().unwrap_or_default().trim();
                media.eq_ignore_ascii_case("application/json")
            });
        if !json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Send the body as `Content-Type: application/json`.",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = format!("A body may have at most {LARGEST_BODY} bytes.");
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
            } else {
                Problem::new(StatusCode::BAD_REQUEST, "body-lost", "The body did not arrive whole.")
            }
        })?;
        strict::check(&bytes).map_err(|inexact| {
            let findings = json!([{ "pointer": inexact.pointer, "message": inexact.what }]);
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "json-not-exact", inexact.to_string())
                .with("findings", findings)
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            if error.is_data() {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-body", error.to_string())
            } else {
                Problem::new(StatusCode::BAD_REQUEST, "malformed-json", format!("The body is not JSON: {error}"))
            }
        })
    }
}

/// Query parameters.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(parameters) = Query::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "invalid-query", rejection.body_text()))?;
        Ok(Self(parameters))
    }
}

/// A whole number of a body, as it stands there: its range is judged by [`within`], which names it.
pub type Whole = Number;

/// The number of the body's member `member`, if there is one and it is in the range.
pub fn within(member: &str, number: Option<&Whole>, range: RangeInclusive<u32>) -> Result<Option<u32>, Problem> {
    let Some(number) = number else { return Ok(None) };
    let found = number.as_u64().and_then(|whole| u32::try_from(whole).ok()).filter(|whole| range.contains(whole));
    found.map(Some).ok_or_else(|| {
        let what = format!("{number} is no whole number from {} to {}", range.start(), range.end());
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "out-of-range", format!("{member}: {what}"))
            .with("findings", json!([{ "pointer": format!("/{member}"), "message": what }]))
    })
}

/// Who acts: the token's owner, in the role that the header `Keyferry-Actor: ROLE` or `Keyferry-Actor: ROLE; NAME` names.
/// The audit trail keeps both: with a name it reads `admin for NAME`.
pub struct Acting {
    name: String,
    role: Option<String>,
}

impl Acting {
    /// The actor; `role` counts when the request names none.
    pub fn or(self, role: &str) -> Actor {
        Actor { name: self.name, role: self.role.unwrap_or_else(|| role.to_owned()) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        acting(&parts.headers)
    }
}

fn acting(headers: &HeaderMap) -> Result<Acting, Problem> {
    let Some(value) = headers.get(ACTOR_HEADER) else {
        return Ok(Acting { name: ADMINISTRATOR.to_owned(), role: None });
    };
    let wrong = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid-actor", detail);
    let text = value.to_str().map_err(|_| wrong("Keyferry-Actor: only ASCII is taken"))?;
    let (role, name) = text.split_once(';').unwrap_or((text, ""));
    let (role, name) = (role.trim(), name.trim());
    if !ROLES.contains(&role) {
        return Err(wrong(&format!("Keyferry-Actor: the role is one of {}", ROLES.join(", "))));
    }
    if name.len() > 100 {
        return Err(wrong("Keyferry-Actor: a name has at most 100 characters"));
    }
    let name = if name.is_empty() { ADMINISTRATOR.to_owned() } else { format!("{ADMINISTRATOR} for {name}") };
    Ok(Acting { name, role: Some(role.to_owned()) })
}

/// The request's `Idempotency-Key`.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        match value.to_str() {
            Ok(text) if (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self(Some(text.to_owned())))
            }
            _ => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-idempotency-key",
                "Idempotency-Key: 1 to 200 visible ASCII characters",
            )),
        }
    }
}

/// The request's `If-Match`: the revisions under which a change may be made; `None` without one, or with `*`.
pub struct IfMatch(pub Option<Vec<u64>>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Ok(Self(None));
        };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let tags: Option<Vec<u64>> =
            text.split(',').map(|tag| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()).collect();
        tags.map(|tags| Self(Some(tags))).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid-if-match", "If-Match: send an ETag as it was received")
        })
    }
}

/// Who acts, under which idempotency key, on what they have seen: what every verb is given besides its body.
pub struct Asking {
    acting: Acting,
    key: Option<String>,
    if_match: Option<Vec<u64>>,
}

impl Asking {
    /// `role` counts when the request names none.
    pub fn by(self, role: &str) -> By {
        By { actor: self.acting.or(role), idempotency_key: self.key, if_match: self.if_match }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let acting = Acting::from_request_parts(parts, state).await?;
        let IdempotencyKey(key) = IdempotencyKey::from_request_parts(parts, state).await?;
        let IfMatch(if_match) = IfMatch::from_request_parts(parts, state).await?;
        Ok(Self { acting, key, if_match })
    }
}

/// The body of a verb on a frame: the visit that was seen, and the rest.
pub fn fenced<T: DeserializeOwned>(run: &str, body: Value) -> Result<(Visit, T), Problem> {
    let wrong = |code, detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    let place = format!(
        "read it where GET /api/v1/runs/{run} shows it, in `attention` or `waiting_for`, or in `keyferry run show {run}`"
    );
    let Value::Object(mut members) = body else {
        return Err(wrong("invalid-body", "the body is an object".to_owned()));
    };
    let visit = match members.remove("visit") {
        None | Some(Value::Null) => {
            return Err(wrong("visit-missing", format!("visit: say what you have seen; {place}")));
        }
        Some(Value::String(text)) => text.parse::<Visit>().map_err(|no| no.to_string()),
        Some(other) => Err(format!("`{other}` is not a visit")),
    };
    let visit = visit.map_err(|no| wrong("visit-invalid", format!("visit: {no}; {place}")))?;
    let frame = members.remove("frame").filter(|frame| !frame.is_null());
    if frame.is_some_and(|frame| frame != json!(visit.frame())) {
        return Err(wrong(
            "visit-invalid",
            format!("frame: the visit {visit} is of frame {}; leave `frame` out", visit.frame()),
        ));
    }
    match serde_json::from_value(Value::Object(members)) {
        Ok(rest) => Ok((visit, rest)),
        Err(error) => Err(wrong("invalid-body", error.to_string())),
    }
}

/// The ETag of a run: its revision.
pub fn etag(run: &RunView) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", run.revision)).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Reply {
    match serde_json::to_vec(body) {
        Ok(bytes) => Ok((status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()),
        Err(error) => {
            tracing::error!(error = %error, "an answer could not be written as JSON");
            Err(Problem::internal())
        }
    }
}

/// A run as an answer, with its ETag.
pub fn run_answer(status: StatusCode, run: &RunView) -> Reply {
    let mut response = json(status, run)?;
    response.headers_mut().insert(header::ETAG, etag(run));
    Ok(response)
}

/// Puts `Location` on an answer; the parts of the path are percent-encoded where they have to be.
pub fn located(mut response: Response, collection: &str, id: &str) -> Response {
    let encoded: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    if let Ok(value) = HeaderValue::from_str(&format!("{collection}/{encoded}")) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Runs a change on a task of its own: hyper drops a handler whose client goes away, and a dropped future could stop
/// between a decision and its commit.
pub async fn committed<T: Send + 'static>(
    change: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(change).await {
        Ok(result) => result.map_err(Problem::from),
        Err(error) => {
            tracing::error!(error = %error, "a change ended in a panic");
            Err(Problem::internal())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(header: &'static str) -> Result<Actor, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(ACTOR_HEADER, HeaderValue::from_static(header));
        acting(&headers).map(|acting| acting.or("engineer"))
    }

    #[test]
    fn the_token_owner_stays_visible_whoever_they_act_for() {
        let plain = acting(&HeaderMap::new()).expect("no header").or("engineer");
        assert_eq!(plain, Actor { name: "admin".to_owned(), role: "engineer".to_owned() });
        assert_eq!(actor("csm").expect("a role"), Actor { name: "admin".to_owned(), role: "csm".to_owned() });
        let named = actor("customer; Jane Doe").expect("a role and a name");
        assert_eq!(named, Actor { name: "admin for Jane Doe".to_owned(), role: "customer".to_owned() });
    }

    #[test]
    fn system_and_invented_roles_cannot_be_claimed() {
        for header in ["system", "root; x", "", "Customer"] {
            assert_eq!(actor(header).expect_err("refused").code, "invalid-actor", "{header}");
        }
    }

    async fn if_match(value: &'static str) -> Result<Option<Vec<u64>>, Problem> {
        let request = http::Request::builder().header(header::IF_MATCH, value).body(()).expect("a request");
        let (mut parts, ()) = request.into_parts();
        IfMatch::from_request_parts(&mut parts, &()).await.map(|IfMatch(tags)| tags)
    }

    #[tokio::test]
    async fn if_match_takes_etags_and_refuses_what_is_none() {
        assert_eq!(if_match("\"7\"").await.expect("a tag"), Some(vec![7]));
        assert_eq!(if_match("\"7\", \"8\"").await.expect("tags"), Some(vec![7, 8]));
        assert_eq!(if_match("*").await.expect("any"), None);
        for wrong in ["7", "W/\"7\"", "", "\"x\""] {
            assert_eq!(if_match(wrong).await.expect_err("refused").code, "invalid-if-match", "{wrong}");
        }
    }
}
