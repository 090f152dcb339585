//! The operators' API. Its document, `openapi.json`, is kept by hand beside the routes; a test holds the two together.

mod api_keys;
mod audits;
mod enterprises;
pub(super) mod extract;
mod letters;
mod packet;
pub(super) mod paging;
mod runs;
mod stats;
mod stream;
mod system;
mod verbs;
mod workflows;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    http::Uri,
    middleware,
    routing::{MethodFilter, MethodRouter, get, on},
};
use http::StatusCode;
use tokio::sync::watch;

use super::{auth::AdminToken, customer, layers, meant::Paths, problem::Problem};
use crate::{access::Access, config::Config, telemetry::Metrics, worker::Service};

/// The largest body that is taken, in bytes.
const LARGEST_BODY: usize = 256 * 1024;

/// What the handlers work with. Cloning it costs a few counters.
#[derive(Clone)]
pub struct Api {
    pub service: Service,
    pub config: Arc<Config>,
    pub access: Access,
    pub token: AdminToken,
    pub metrics: Metrics,
    /// The definitions that runs can be started with, by name.
    pub workflows: Arc<BTreeMap<String, Workflow>>,
    /// Role by form name: in which role the administrator answers when the request names none.
    pub form_roles: Arc<BTreeMap<String, String>>,
    /// Turns true when the server stops; streams end then.
    pub shutdown: watch::Receiver<bool>,
}

/// What machines ask about, of a server and of a worker alike.
#[derive(Clone)]
pub struct Machines {
    pub service: Service,
    pub metrics: Metrics,
}

impl FromRef<Api> for Machines {
    fn from_ref(api: &Api) -> Self {
        Self { service: api.service.clone(), metrics: api.metrics.clone() }
    }
}

/// A workflow definition, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workflow {
    /// Content hash.
    pub definition: String,
    pub source: String,
}

/// What a handler answers.
type Reply = Result<axum::response::Response, Problem>;

struct Route {
    method: MethodFilter,
    path: &'static str,
    handler: fn(MethodFilter) -> MethodRouter<Api>,
}

macro_rules! route {
    (GET $path:literal => $handler:path) => {
        Route { method: MethodFilter::GET, path: $path, handler: |method| on(method, $handler) }
    };
    (PATCH $path:literal => $handler:path) => {
        Route { method: MethodFilter::PATCH, path: $path, handler: |method| on(method, $handler) }
    };
    (POST $path:literal => $handler:path) => {
        Route { method: MethodFilter::POST, path: $path, handler: |method| on(method, $handler) }
    };
}

/// Routes that need no token.
fn open_routes() -> Vec<Route> {
    vec![
        route!(GET "/healthz" => system::healthz),
        route!(GET "/readyz" => system::readyz),
        route!(GET "/metrics" => system::metrics),
        route!(GET "/openapi.json" => system::openapi),
    ]
}

/// Routes behind the administrator's token.
fn guarded_routes() -> Vec<Route> {
    vec![
        route!(GET "/api/v1/enterprises" => enterprises::list),
        route!(POST "/api/v1/enterprises" => enterprises::add),
        route!(GET "/api/v1/enterprises/{enterprise}" => enterprises::show),
        route!(PATCH "/api/v1/enterprises/{enterprise}" => enterprises::change),
        route!(GET "/api/v1/enterprises/{enterprise}/changes" => enterprises::changes),
        route!(GET "/api/v1/enterprises/{enterprise}/records/{collection}" => enterprises::records),
        route!(GET "/api/v1/enterprises/{enterprise}/records/{collection}/{key}" => enterprises::record),
        route!(GET "/api/v1/enterprises/{enterprise}/key-policy/{region}" => enterprises::key_policy),
        route!(POST "/api/v1/enterprises/{enterprise}/runs" => runs::start),
        route!(GET "/api/v1/enterprises/{enterprise}/audits" => audits::list),
        route!(POST "/api/v1/enterprises/{enterprise}/audits" => audits::start),
        route!(GET "/api/v1/enterprises/{enterprise}/audits/{key}" => audits::show),
        route!(GET "/api/v1/enterprises/{enterprise}/audit-decisions" => audits::decisions),
        route!(POST "/api/v1/enterprises/{enterprise}/audit-decisions" => audits::decide),
        route!(GET "/api/v1/enterprises/{enterprise}/audit-schedule" => audits::schedule),
        route!(POST "/api/v1/enterprises/{enterprise}/audit-schedule" => audits::reschedule),
        route!(GET "/api/v1/enterprises/{enterprise}/api-keys" => api_keys::list),
        route!(POST "/api/v1/enterprises/{enterprise}/api-keys" => api_keys::create),
        route!(GET "/api/v1/enterprises/{enterprise}/api-keys/{apiKey}" => api_keys::show),
        route!(POST "/api/v1/enterprises/{enterprise}/api-keys/{apiKey}/rotation" => api_keys::rotate),
        route!(POST "/api/v1/enterprises/{enterprise}/api-keys/{apiKey}/revocation" => api_keys::revoke),
        route!(POST "/api/v1/enterprises/{enterprise}/handovers" => api_keys::hand_over),
        route!(GET "/api/v1/enterprises/{enterprise}/trail" => api_keys::trail),
        route!(GET "/api/v1/enterprises/{enterprise}/packet" => packet::without_links),
        route!(POST "/api/v1/enterprises/{enterprise}/packet" => packet::with_links),
        route!(GET "/api/v1/runs" => runs::list),
        route!(GET "/api/v1/runs/{run}" => runs::show),
        route!(GET "/api/v1/runs/{run}/history" => runs::history),
        route!(GET "/api/v1/runs/{run}/diagram" => runs::diagram),
        route!(GET "/api/v1/runs/{run}/diagram.svg" => runs::drawing),
        route!(GET "/api/v1/runs/{run}/verification" => runs::verification),
        route!(GET "/api/v1/runs/{run}/events" => stream::events),
        route!(GET "/api/v1/runs/{run}/forms/{form}" => runs::form),
        route!(POST "/api/v1/runs/{run}/forms/{form}" => verbs::answer),
        route!(POST "/api/v1/runs/{run}/retry" => verbs::retry),
        route!(POST "/api/v1/runs/{run}/skip" => verbs::skip),
        route!(POST "/api/v1/runs/{run}/pause" => verbs::pause),
        route!(POST "/api/v1/runs/{run}/resume" => verbs::resume),
        route!(POST "/api/v1/runs/{run}/cancel" => verbs::cancel),
        route!(GET "/api/v1/letters" => letters::list),
        route!(POST "/api/v1/letters/{letter}/resend" => letters::resend),
        route!(GET "/api/v1/dead-letters" => letters::dead),
        route!(GET "/api/v1/workflows" => workflows::list),
        route!(GET "/api/v1/workflows/{workflow}" => workflows::show),
    ]
}

/// What a worker answers: health and metrics, to whoever asks.
pub fn machines_router(machines: Machines) -> Router {
    let around = layers::Around { metrics: machines.metrics.clone(), limit: layers::REQUEST };
    Router::new()
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(system::metrics))
        .fallback(|| async { Problem::not_found("such path: a worker answers /healthz, /readyz and /metrics") })
        .layer(middleware::from_fn_with_state(around, layers::around))
        .with_state(machines)
}

/// The whole HTTP surface.
pub fn router(api: Api) -> Router {
    let around = layers::Around { metrics: api.metrics.clone(), limit: layers::REQUEST };
    let own = guarded_routes().into_iter().chain(open_routes()).map(|route| route.path.to_owned());
    let there_are = Paths::new(own.chain(customer::patterns(&api.config)));
    let gather = |routes: Vec<Route>| {
        routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)(route.method)))
    };
    gather(guarded_routes())
        .route_layer(middleware::from_fn_with_state(api.token.clone(), layers::require_token))
        .merge(gather(open_routes()))
        .fallback(|uri: Uri| async move { there_are.not_found(&uri, "see /openapi.json") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This path does not take this method; see /openapi.json.",
            )
        })
        .layer(middleware::from_fn_with_state(around, layers::around))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(api)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_and_the_router_have_the_same_routes() {
        let document: Value = serde_json::from_str(system::OPENAPI).expect("the document is JSON");
        let routed: BTreeSet<String> = open_routes()
            .iter()
            .chain(&guarded_routes())
            .map(|route| {
                let method = match route.method {
                    MethodFilter::GET => "get",
                    MethodFilter::PATCH => "patch",
                    _ => "post",
                };
                format!("{method} {}", route.path)
            })
            .collect();
        let methods = ["get", "put", "post", "delete", "patch", "head", "options"];
        let documented: BTreeSet<String> = document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, item)| {
                let operations =
                    item.as_object().expect("an item").keys().filter(|key| methods.contains(&key.as_str()));
                operations.map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert!(routed.len() > 20, "{routed:?}");
        assert_eq!(documented, routed);
    }

    #[test]
    fn every_path_parameter_and_reference_of_the_document_exists() {
        let document: Value = serde_json::from_str(system::OPENAPI).expect("the document is JSON");
        for (path, item) in document["paths"].as_object().expect("paths") {
            let named: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let declared: BTreeSet<&str> = item["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|parameter| parameter["$ref"].as_str()?.rsplit('/').next())
                .collect();
            assert_eq!(declared, named, "{path}");
        }
        let mut found = 0;
        references(&document, &mut |reference| {
            found += 1;
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        });
        assert!(found > 50, "only {found} references were seen");
    }

    fn references(value: &Value, seen: &mut impl FnMut(&str)) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$ref", Value::String(reference)) => seen(reference),
                        _ => references(member, seen),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, seen)),
            _ => {}
        }
    }
}
