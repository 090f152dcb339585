//! What happens around every request: time limit, panics, metrics, headers.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::{api::Api, problem::Problem};

/// From a request's head to its answer's. The body's arrival is in it; a stream that is answered is not.
const REQUEST: Duration = Duration::from_secs(30);

/// The outermost layer.
pub async fn around(State(api): State<Api>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(REQUEST, handled).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(http.route = route, "a request handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            format!("The request was not answered within {} seconds.", REQUEST.as_secs()),
        )
        .into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Method names are open-ended on the wire; a metric's label must not be.
    let label = if matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") {
        method.as_str()
    } else {
        "other"
    };
    api.metrics.request(label, &route, response.status().as_u16(), begun.elapsed().as_secs_f64());
    response
}

/// Lets a request through that carries the administrator's token.
pub async fn require_token(State(api): State<Api>, request: Request, next: Next) -> Response {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match presented {
        Some(token) if api.token.is(token) => next.run(request).await,
        Some(_) => Problem::new(StatusCode::UNAUTHORIZED, "wrong-token", "The token is not valid.").into_response(),
        None => Problem::new(
            StatusCode::UNAUTHORIZED,
            "no-token",
            "Send `Authorization: Bearer TOKEN`; the administrator's token is in DIR/admin-token.",
        )
        .into_response(),
    }
}
