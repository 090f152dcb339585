//! What stands before every handler of the customers' API.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::CustomerApi;
use crate::{access::Environment, http::problem::Problem};

/// What the guard works with.
#[derive(Clone)]
pub struct Guard {
    pub api: CustomerApi,
    pub environment: Environment,
}

/// Lets a request through whose API key is good for the path's enterprise and environment.
pub async fn require_api_key(State(_guard): State<Guard>, _request: Request, _next: Next) -> Response {
    Problem::new(StatusCode::UNAUTHORIZED, "no-api-key", "Send `Authorization: ApiKey KEY`.").into_response()
}
