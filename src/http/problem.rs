//! Problem documents (RFC 9457): every error of the API, with a `code` that clients may rely on.

use std::num::NonZeroU32;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::worker::{ErrorKind, ServiceError};

/// An answer that says what was wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable, in kebab-case; its type is `urn:keyferry:problem:<code>`.
    pub code: &'static str,
    /// For people: what was wrong, where, what to do.
    pub detail: String,
    /// Further members, for example `findings`.
    pub members: Map<String, Value>,
    /// Seconds after which the request may be tried again.
    retry_after: Option<NonZeroU32>,
}

/// A problem's code, in the extensions of its response: what is written about a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemCode(pub &'static str);

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), members: Map::new(), retry_after: None }
    }

    /// For what must not be told to a client; the cause belongs into the log.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed at this request; its log says why. A request that changes something may have taken effect: look before you repeat it.",
        )
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("There is no {what}."))
    }

    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.members.insert(member.to_owned(), value);
        self
    }

    /// Says when to try again, in the header `Retry-After` and in the member `retry_after`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        self
    }

    /// The whole answer as it is sent, for a connection that ends with it.
    pub fn on_the_wire(&self) -> Bytes {
        let body = self.body().to_string();
        Bytes::from(format!(
            "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
             x-content-type-options: nosniff\r\nconnection: close\r\n\r\n{body}",
            self.status,
            body.len()
        ))
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(format!("urn:keyferry:problem:{}", self.code)));
        body.insert("title".to_owned(), json!(self.status.canonical_reason().unwrap_or("Error")));
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("code".to_owned(), json!(self.code));
        body.insert("detail".to_owned(), json!(self.detail));
        if let Some(seconds) = self.retry_after {
            body.insert("retry_after".to_owned(), json!(seconds.get()));
        }
        body.extend(self.members.clone());
        Value::Object(body)
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let status = match error.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::Moved => StatusCode::PRECONDITION_FAILED,
            ErrorKind::Conflict | ErrorKind::Refused => StatusCode::CONFLICT,
            ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Self::new(status, error.code, error.message);
        match error.details {
            None => problem,
            Some(findings @ Value::Array(_)) => problem.with("findings", findings),
            Some(Value::Object(members)) if members.contains_key("findings") || members.contains_key("stands") => {
                members.into_iter().fold(problem, |problem, (name, value)| problem.with(&name, value))
            }
            Some(details) => problem.with("details", details),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"keyferry\""));
        }
        let unavailable = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(5);
        if let Some(seconds) = self.retry_after.map(NonZeroU32::get).or(unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(ProblemCode(self.code));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_error_keeps_its_code_and_shows_its_findings() {
        let findings = json!([{"pointer": "/keys/us-west-2", "message": "is an alias"}]);
        let problem = Problem::from(ServiceError {
            code: "answer-refused",
            message: "The answer has 1 finding.".to_owned(),
            kind: ErrorKind::Invalid,
            details: Some(findings.clone()),
        });
        let body = problem.body();
        assert_eq!(body["status"], 422);
        assert_eq!(body["code"], "answer-refused");
        assert_eq!(body["type"], "urn:keyferry:problem:answer-refused");
        assert_eq!(body["findings"], findings);
    }

    #[test]
    fn a_store_that_cannot_be_used_is_unavailable_and_may_be_asked_again_later() {
        let error = ServiceError::new(ErrorKind::Unavailable, "store-unavailable", "restore a backup");
        let response = Problem::from(error).into_response();
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &HeaderValue::from(5)));
    }
}
