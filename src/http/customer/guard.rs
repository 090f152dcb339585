//! What stands before every handler of the customers' API: authentication, limits, the trail.

use std::{collections::BTreeMap, net::SocketAddr, panic::AssertUnwindSafe};

use axum::{
    extract::{ConnectInfo, MatchedPath, Path, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::SecondsFormat;
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header, request::Parts};

use crate::{
    access::{Access, Admitted, Attempt, Environment, KeyScope, Refused},
    http::problem::{Problem, ProblemCode},
};

/// What the guard works with.
#[derive(Clone)]
pub struct Guard {
    pub access: Access,
    pub environment: Environment,
    pub scope: KeyScope,
}

/// Characters of a path that the trail keeps.
const LONGEST_ACTION: usize = 200;

/// Lets a request through whose API key is good for the path's enterprise and environment.
pub async fn require_api_key(
    State(guard): State<Guard>,
    Path(parameters): Path<BTreeMap<String, String>>,
    request: Request,
    next: Next,
) -> Response {
    // On a task of its own: a client that goes away must neither stop a handler between the relay of a key and our commit,
    // nor leave its use in the trail without an outcome.
    let handled = tokio::spawn(async move {
        let (head, body) = request.into_parts();
        match admit(&guard, &parameters, &head).await {
            Ok(admitted) => handle(&guard.access, admitted, Request::from_parts(head, body), next).await,
            Err(problem) => challenged(problem),
        }
    });
    handled.await.unwrap_or_else(|error| {
        tracing::error!(error = %error, "the guard of the customers' API ended early");
        Problem::internal().into_response()
    })
}

async fn admit(guard: &Guard, parameters: &BTreeMap<String, String>, head: &Parts) -> Result<Admitted, Problem> {
    let Some(address) = address(&guard.access, head) else {
        return Err(Problem::internal());
    };
    let presented = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("apikey"))
        .map(|(_, key)| key.trim());
    let enterprise = parameters.get("enterprise").map_or("", String::as_str);
    // The route's path with what the client put into it: a nested router's own path lacks the prefix.
    let route = head.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let path = route.replace("{enterprise}", enterprise);
    // People read the trail in terminals.
    let shown = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    let action: String = format!("{} {path}", head.method).chars().take(LONGEST_ACTION).map(shown).collect();
    let (environment, scope) = (guard.environment, guard.scope);
    let attempt = Attempt { presented, enterprise, environment, scope, address, action: &action };
    guard.access.admit(attempt).await.map_err(problem)
}

async fn handle(access: &Access, admitted: Admitted, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(admitted.caller.clone());
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a handler of the customers' API panicked");
            Problem::internal().into_response()
        }
    };
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let code = response.extensions().get::<ProblemCode>().map(|ProblemCode(code)| *code);
    let outcome = code.unwrap_or(if failed { "bad-request" } else { "done" });
    let (enterprise, key) = (admitted.caller.enterprise.clone(), admitted.caller.key_id.clone());
    if let Err(error) = access.complete(admitted, outcome, status.as_u16()).await {
        tracing::error!(
            error = %error, enterprise.id = enterprise, api_key.id = key, outcome,
            "what came of a use is missing in the trail"
        );
    }
    response
}

/// Where a request came from; `None` when the server did not say who its peer is.
pub fn address(access: &Access, head: &Parts) -> Option<std::net::IpAddr> {
    let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
    let Some(ConnectInfo(peer)) = peer else {
        tracing::error!("a request of the customers' API has no peer: the server must pass it on");
        return None;
    };
    Some(access.proxies().address(peer.ip(), &head.headers))
}

fn problem(refused: Refused) -> Problem {
    let code = refused.code();
    let unauthorized = |detail: String| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    match refused {
        Refused::NoKey => unauthorized(
            "Send the header `Authorization: ApiKey KEY` with the API key that the vendor handed out to you.".to_owned(),
        ),
        Refused::Mistyped => unauthorized(
            "The API key is incomplete or mistyped: it begins with `kf_live_` or `kf_test_` and has 70 characters. Copy it whole."
                .to_owned(),
        ),
        Refused::Unknown => unauthorized(
            "The API key is not known. Look whether it was replaced by a newer one, or ask the vendor for one.".to_owned(),
        ),
        Refused::Expired { at } => unauthorized(format!(
            "The API key has expired at {}. Ask the vendor for a new one.",
            at.to_rfc3339_opts(SecondsFormat::Secs, true)
        )),
        Refused::Revoked => {
            unauthorized("The API key was revoked. Ask the vendor for a new one.".to_owned())
        }
        Refused::Network { address } => Problem::new(
            StatusCode::FORBIDDEN,
            code,
            format!(
                "The API key may not be used from {address}. Call from an allowed network, or have the vendor allow this one."
            ),
        ),
        Refused::Enterprise => Problem::new(
            StatusCode::NOT_FOUND,
            code,
            "There is no such enterprise for this API key: use the identifier in your information packet.",
        ),
        Refused::Environment { key, path } => Problem::new(
            StatusCode::FORBIDDEN,
            code,
            format!(
                "The API key is for the {key} environment, the path is the {path} environment's. Nothing was done: call the {key} endpoint of your information packet."
            ),
        ),
        Refused::Scope { key, path } => Problem::new(
            StatusCode::FORBIDDEN,
            code,
            format!("The API key is for {key}, the path is for {path}. Nothing was done: ask the vendor for a key of that scope."),
        ),
        Refused::Limited { seconds } => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            code,
            format!("Too many requests. Wait {seconds} seconds before the next one."),
        )
        .retry_after(seconds),
        Refused::Failed(error) => error.into(),
    }
}

/// A refusal, with the scheme that is asked for.
fn challenged(problem: Problem) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("ApiKey realm=\"customers\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
