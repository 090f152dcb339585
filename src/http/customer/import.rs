//! Key import: the two calls of the customers' API.

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    response::Response,
    routing::{post, put},
};

use super::CustomerApi;
use crate::{access::Caller, http::problem::Problem};

/// What the import handlers work with beside the service.
#[derive(Debug, Clone, Default)]
pub struct Imports {}

/// The routes of key import, below the API's prefix; the same for both environments. The caller, its enterprise and its
/// environment are in the request's extensions: the guard has checked them against the path.
pub fn import_routes() -> Router<CustomerApi> {
    Router::new()
        .route("/enterprises/{enterprise}/cmk/import-key-request", put(request_import))
        .route("/enterprises/{enterprise}/cmk/import-key", post(import_key))
}

async fn request_import(
    State(_api): State<CustomerApi>,
    Extension(_caller): Extension<Caller>,
    _body: Body,
) -> Result<Response, Problem> {
    Err(Problem::not_found("open import"))
}

async fn import_key(
    State(_api): State<CustomerApi>,
    Extension(_caller): Extension<Caller>,
    _body: Body,
) -> Result<Response, Problem> {
    Err(Problem::not_found("open import"))
}
