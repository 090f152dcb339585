//! AWS's wire protocols: JSON 1.1 (KMS) and Query/XML (RDS, STS).
//!
//! Only shapes live here. A service sees a [`Value`](serde_json::Value) and answers one; see [`query::decode`] and
//! [`xml::element`] for the two mappings.

pub mod json;
pub mod query;
pub mod xml;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::Value;

use super::AwsError;

/// How a service's requests and answers are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `X-Amz-Target` names the operation, JSON both ways.
    Json,
    /// Form parameters in, XML of this namespace out.
    Query { namespace: &'static str },
}

impl Protocol {
    /// The answer of a call that succeeded.
    pub fn success(self, action: &str, body: &Value, request_id: &str) -> Response<Bytes> {
        match self {
            Self::Json => reply(200, "application/x-amz-json-1.1", body.to_string(), request_id),
            Self::Query { namespace } => {
                reply(200, "text/xml", xml::success(action, namespace, body, request_id), request_id)
            }
        }
    }

    /// The answer of a call that failed.
    pub fn failure(self, error: &AwsError, request_id: &str) -> Response<Bytes> {
        match self {
            Self::Json => {
                let mut response =
                    reply(error.http_status, "application/x-amz-json-1.1", json::error(error).to_string(), request_id);
                if let Ok(code) = HeaderValue::from_str(&error.code) {
                    response.headers_mut().insert("x-amzn-errortype", code);
                }
                response
            }
            Self::Query { namespace } => {
                reply(error.http_status, "text/xml", xml::failure(namespace, error, request_id), request_id)
            }
        }
    }
}

fn reply(status: u16, content_type: &'static str, body: String, request_id: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

/// A JSON document of the sandbox's own endpoints.
pub fn own_json(status: u16, body: &Value) -> Response<Bytes> {
    reply(status, "application/json", body.to_string(), "")
}
