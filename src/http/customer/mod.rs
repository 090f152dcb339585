//! The customers' API: key import with an API key, in production and in the test environment, and the audit reports.
//!
//! It faces the internet: it can listen on an address of its own, takes small bodies alone, and every request is
//! authenticated, limited and put into the trail by `guard` before a handler sees it.

mod audits;
mod guard;
mod handover;
mod import;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    http::Uri,
    middleware,
    routing::get,
};
use http::{StatusCode, header};

use super::{layers, meant::Paths, problem::Problem};
use crate::{
    access::{Access, Environment, KeyScope},
    config::Config,
    telemetry::Metrics,
    worker::Service,
};

pub use import::Imports;

/// The document of this API, which whoever asks is given.
const OPENAPI: &str = include_str!("openapi.json");
const DOCUMENT: &str = "/openapi.json";

/// The largest body that is taken, in bytes.
pub const LARGEST_BODY: usize = 16 * 1024;

/// What the handlers work with. Cloning it costs a few counters.
#[derive(Clone)]
pub struct CustomerApi {
    pub service: Service,
    pub config: Arc<Config>,
    pub access: Access,
    pub metrics: Metrics,
    pub imports: Imports,
}

/// What the pages of one-time links work with.
#[derive(Clone)]
struct Pages {
    access: Access,
    config: Arc<Config>,
}

impl FromRef<CustomerApi> for Pages {
    fn from_ref(api: &CustomerApi) -> Self {
        Self { access: api.access.clone(), config: Arc::clone(&api.config) }
    }
}

/// The customers' paths, for a listener of their own: `{prefix}/…`, `/test{prefix}/…` and `/handover/{id}`.
pub fn router(api: CustomerApi) -> Router {
    let there_are = Paths::new(patterns(&api.config));
    let routes = routes(&api)
        .fallback(|uri: Uri| async move { there_are.not_found(&uri, "your information packet names the endpoints") });
    finished(routes, api)
}

/// The paths that there are, `{…}` standing for any part.
pub(super) fn patterns(config: &Config) -> Vec<String> {
    let prefix = &config.vendor.customer_api_prefix;
    let both = import::PATHS
        .iter()
        .flat_map(|path| Environment::ALL.map(|environment| format!("{}{prefix}{path}", environment.path_prefix())));
    let audits = audits::PATHS.iter().map(|path| format!("{}{prefix}{path}", Environment::Production.path_prefix()));
    both.chain(audits).collect()
}

/// The same paths, to be merged into the router of the operators' API.
pub fn paths(api: CustomerApi) -> Router {
    finished(routes(&api), api)
}

fn finished(routes: Router<CustomerApi>, api: CustomerApi) -> Router {
    let around = layers::Around { metrics: api.metrics.clone(), limit: layers::REQUEST };
    routes
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This path does not take this method: `import-key-request` takes PUT, `import-key` takes POST, `audits` takes GET.",
            )
        })
        .layer(middleware::from_fn_with_state(around, layers::around))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(api)
}

fn routes(api: &CustomerApi) -> Router<CustomerApi> {
    let prefix = &api.config.vendor.customer_api_prefix;
    // Clients and proxies may spell the exclamation mark either way; the router compares letters.
    let encoded = prefix.replace('!', "%21");
    let spellings = [Some(prefix), (encoded != *prefix).then_some(&encoded)];
    let all = Environment::ALL.into_iter().flat_map(|environment| {
        spellings
            .into_iter()
            .flatten()
            .map(move |prefix| (environment, format!("{}{prefix}", environment.path_prefix())))
    });
    let handover = Router::new().route("/handover/{id}", get(handover::page).post(handover::burn));
    all.fold(handover, |router, (environment, path)| {
        let imports = guarded(&api.access, environment, KeyScope::Import, import::import_routes());
        // What is tried out in the test environment is not audited.
        let audits = (environment == Environment::Production)
            .then(|| guarded(&api.access, environment, KeyScope::Audits, audits::audit_routes()));
        let document = get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) });
        router.nest(&path, audits.into_iter().fold(imports, Router::merge).route(DOCUMENT, document))
    })
}

/// Routes behind the API key of an environment: each names its enterprise as `{enterprise}`.
fn guarded<S: Clone + Send + Sync + 'static>(
    access: &Access,
    environment: Environment,
    scope: KeyScope,
    routes: Router<S>,
) -> Router<S> {
    let guard = guard::Guard { access: access.clone(), environment, scope };
    routes.route_layer(middleware::from_fn_with_state(guard, guard::require_api_key))
}

#[cfg(test)]
mod tests;
