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

use super::{auth::AdminToken, problem::Problem};
use crate::telemetry::Metrics;

/// From a request's head to its answer's. The body's arrival is in it; a stream that is answered is not.
pub const REQUEST: Duration = Duration::from_secs(30);

/// What the outermost layer works with.
#[derive(Debug, Clone)]
pub struct Around {
    pub metrics: Metrics,
    pub limit: Duration,
}

/// The outermost layer.
pub async fn around(State(Around { metrics, limit }): State<Around>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let handled = async {
        match encoded(&request) {
            Some(refused) => refused.into_response(),
            None => next.run(request).await,
        }
    };
    let handled = AssertUnwindSafe(handled).catch_unwind();
    let mut response = match tokio::time::timeout(limit, handled).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(http.route = route, "a request handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            format!("The request was not answered within {} seconds.", limit.as_secs()),
        )
        .into_response(),
    };
    response = as_problem(response);
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Method names are open-ended on the wire; a metric's label must not be.
    let label = if matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") {
        method.as_str()
    } else {
        "other"
    };
    metrics.request(label, &route, response.status().as_u16(), begun.elapsed().as_secs_f64());
    response
}

/// A body under a coding is not what it seems; none is taken.
fn encoded(request: &Request) -> Option<Problem> {
    let codings = request.headers().get_all(header::CONTENT_ENCODING);
    let is_plain = codings.iter().all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    (!is_plain).then(|| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-encoding-not-taken",
            "The body has a Content-Encoding, and none is taken: send it plain, without that header.",
        )
    })
}

/// Errors that the framework answers by itself (a path that is not UTF-8, for example) become problems as well.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    // A page for people says what was wrong itself.
    let is_told = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().starts_with(b"application/problem+json") || kind.as_bytes().starts_with(b"text/html")
    });
    if is_told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    if status.is_server_error() {
        return Problem::internal().into_response();
    }
    Problem::new(status, "bad-request", "The request cannot be understood; see /openapi.json.").into_response()
}

/// Lets a request through that carries the administrator's token.
pub async fn require_token(State(administrator): State<AdminToken>, request: Request, next: Next) -> Response {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match presented {
        Some(token) if administrator.is(token) => next.run(request).await,
        Some(_) => Problem::new(StatusCode::UNAUTHORIZED, "wrong-token", "The token is not valid.").into_response(),
        None => Problem::new(
            StatusCode::UNAUTHORIZED,
            "no-token",
            "Send `Authorization: Bearer TOKEN`; the administrator's token is in DIR/admin-token.",
        )
        .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::get};
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    async fn breaks() -> StatusCode {
        panic!("a handler breaks");
    }

    async fn never() -> StatusCode {
        std::future::pending().await
    }

    /// Status, problem code, and what was counted.
    async fn ask(path: &str) -> (u16, String, String) {
        let metrics = Metrics::new().expect("names differ");
        let router = Router::new()
            .route("/breaks", get(breaks))
            .route("/never", get(never))
            .route("/teapot", get(|| async { (StatusCode::IM_A_TEAPOT, "short and stout") }))
            .layer(middleware::from_fn_with_state(
                Around { metrics: metrics.clone(), limit: Duration::from_millis(20) },
                around,
            ));
        let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("answered");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&bytes).expect("a problem");
        (status, body["code"].as_str().expect("a code").to_owned(), metrics.render(Vec::new()).expect("text"))
    }

    #[tokio::test]
    async fn a_panic_is_answered_as_a_problem_and_counted() {
        let (status, code, metrics) = ask("/breaks").await;
        assert_eq!((status, code.as_str()), (500, "internal"));
        assert!(metrics.contains(r#"route="/breaks",status="500"} 1"#), "{metrics}");
    }

    #[tokio::test]
    async fn a_body_under_a_coding_is_refused() {
        for (coding, status) in [("gzip", 415), ("identity, gzip", 415), (" Identity", 204)] {
            let around = Around { metrics: Metrics::new().expect("names differ"), limit: Duration::from_secs(5) };
            let router = Router::new()
                .route("/", get(|| async { StatusCode::NO_CONTENT }))
                .layer(middleware::from_fn_with_state(around, super::around));
            let request = Request::builder().header("content-encoding", coding).body(Body::empty()).expect("a request");
            assert_eq!(router.oneshot(request).await.expect("answered").status(), status, "{coding}");
        }
    }

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_answered() {
        let (status, code, _) = ask("/never").await;
        assert_eq!((status, code.as_str()), (503, "timeout"));
    }

    #[tokio::test]
    async fn the_frameworks_own_errors_become_problems() {
        let (status, code, _) = ask("/teapot").await;
        assert_eq!((status, code.as_str()), (418, "bad-request"));
    }
}
