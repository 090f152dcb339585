//! The operators' API over a socket.

mod audits;
mod customer;
mod disorder;
mod enterprises;
mod numbers;
mod once;
mod silence;
mod verbs;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use keyferry::{
    access::Access,
    config::Config,
    forms::Forms,
    http::{AdminToken, Api, Limits, Workflow, router, serve},
    store::{SqliteStore, Store},
    telemetry::Metrics,
    worker::{Definitions, Registry, Service, ServiceOptions, SystemClock},
};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};

const TOKEN: &str = "kfa_0000000000000000000000000000000000000000000000000000000000000001";

/// A server on a free port; it ends with the value.
struct Server {
    address: SocketAddr,
    client: Client,
    stop: watch::Sender<bool>,
}

/// A service over a store in a folder that lives as long as the process.
async fn service() -> Service {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let store = SqliteStore::open(&folder.join("keyferry.db")).await.expect("a store");
    service_over(Arc::new(store), &[("noop", NOOP)]).await
}

async fn service_over(store: Arc<dyn Store>, workflows: &[(&str, &str)]) -> Service {
    let mut definitions = Definitions::new();
    for (name, source) in workflows {
        definitions.add(name, source).expect("a definition");
        if *name == "broken" {
            definitions.share(name);
        }
    }
    Service::open(ServiceOptions {
        store,
        definitions,
        steps: Registry::new(),
        forms: Arc::new(Forms::shipped().expect("forms")),
        clock: Arc::new(SystemClock),
        config: Arc::new(Config::default()),
        poll: None,
    })
    .await
    .expect("a service")
}

const NOOP: &str = r#"{"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}"#;

async fn start() -> Server {
    start_over(service().await).await
}

async fn start_over(service: Service) -> Server {
    let (stop, shutdown) = watch::channel(false);
    let config = Arc::new(Config::default());
    let noop = Workflow { definition: "0".repeat(64), source: NOOP.to_owned() };
    let roles =
        [("window", "csm"), ("purge-approval", "engineer")].map(|(form, role)| (form.to_owned(), role.to_owned()));
    let api = Api {
        access: Access::new(service.clone(), Arc::new(SystemClock), &config),
        service,
        config,
        token: AdminToken::from_secret(TOKEN),
        metrics: Metrics::new().expect("names differ"),
        workflows: Arc::new(BTreeMap::from([("noop".to_owned(), noop)])),
        form_roles: Arc::new(BTreeMap::from(roles)),
        shutdown: shutdown.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, router(api), Limits::default(), shutdown));
    Server { address, client: Client::new(), stop }
}

impl Server {
    fn open(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.open(method, path).bearer_auth(TOKEN)
    }
}

/// The answer's problem: status and code.
async fn problem(request: RequestBuilder) -> (u16, String, Value) {
    let response: Response = request.send().await.expect("answered");
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{body}");
    assert_eq!(body["status"], status, "{body}");
    (status, body["code"].as_str().expect("a code").to_owned(), body)
}

async fn code(request: RequestBuilder) -> (u16, String) {
    let (status, code, _) = problem(request).await;
    (status, code)
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn nothing_under_the_api_is_told_without_the_token() {
    let server = start().await;
    for path in ["/api/v1/runs", "/api/v1/workflows", "/api/v1/runs/x/events"] {
        assert_eq!(code(server.open(Method::GET, path)).await, is(401, "no-token"), "{path}");
        let wrong = server.open(Method::GET, path).bearer_auth("kfa_wrong");
        assert_eq!(code(wrong).await, is(401, "wrong-token"), "{path}");
    }
    let basic = server.open(Method::GET, "/api/v1/runs").basic_auth("admin", Some(TOKEN));
    let response = basic.send().await.expect("answered");
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn machines_are_answered_without_a_token() {
    let server = start().await;
    for path in ["/healthz", "/metrics", "/openapi.json"] {
        let response = server.open(Method::GET, path).send().await.expect("answered");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
    }
    let metrics = server.open(Method::GET, "/metrics").send().await.expect("answered").text().await.expect("text");
    assert!(metrics.contains(r#"route="/healthz",status="200"} 1"#), "{metrics}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = start().await;
    assert_eq!(code(server.ask(Method::GET, "/api/v2/runs")).await, is(404, "not-found"));
    assert_eq!(code(server.ask(Method::GET, "/api/v1/workflows/none")).await, is(404, "not-found"));
    assert_eq!(code(server.ask(Method::GET, "/api/v1/workflows/%FF")).await, is(400, "bad-request"));
    assert_eq!(code(server.ask(Method::DELETE, "/api/v1/runs")).await, is(405, "method-not-allowed"));
}

#[tokio::test]
async fn a_body_is_read_strictly() {
    let server = start().await;
    let post = || server.ask(Method::POST, "/api/v1/enterprises");
    let json = || post().header("content-type", "application/json");
    assert_eq!(code(post().body("{}")).await, is(415, "unsupported-media-type"));
    assert_eq!(code(json().body("{")).await, is(400, "malformed-json"));
    assert_eq!(code(json().body(format!("\"{}\"", "x".repeat(300_000)))).await, is(413, "too-large"));
    let deep = format!("{{\"input\": {}1{}}}", "[".repeat(120), "]".repeat(120));
    assert_eq!(code(json().body(deep)).await, is(422, "json-not-exact"));
    let twice = problem(json().body(r#"{"id": "dave", "name": "Dave", "name": "Erin"}"#)).await;
    assert_eq!((twice.0, twice.1.as_str()), (422, "json-not-exact"));
    assert!(twice.2["findings"][0]["message"].as_str().expect("a message").contains("`name` is there twice"));
    let large = problem(json().body(r#"{"id": "dave", "name": 18446744073709551616}"#)).await;
    assert_eq!((large.1.as_str(), &large.2["findings"][0]["pointer"]), ("json-not-exact", &serde_json::json!("/name")));
    let (status, code, body) = problem(json().body(r#"{"id": "dave", "nmae": "Dave"}"#)).await;
    assert_eq!((status, code.as_str()), (422, "invalid-body"));
    assert!(body["detail"].as_str().expect("a detail").contains("`nmae`"), "{body}");
}

#[tokio::test]
async fn parameters_and_headers_are_read_strictly() {
    let server = start().await;
    let get = |path: &str| server.ask(Method::GET, path);
    assert_eq!(code(get("/api/v1/runs?limit=0")).await, is(400, "invalid-query"));
    assert_eq!(code(get("/api/v1/runs?limit=201")).await, is(400, "invalid-query"));
    let (_, _, body) = problem(get("/api/v1/runs?stauts=waiting")).await;
    assert!(body["detail"].as_str().expect("a detail").contains("stauts"), "{body}");
    let verb = |header: &'static str, value: &'static str| {
        let post = server.ask(Method::POST, "/api/v1/runs/r/pause").header(header, value);
        post.header("content-type", "application/json").body(r#"{"reason": "quiet"}"#)
    };
    assert_eq!(code(verb("keyferry-actor", "system")).await, is(400, "invalid-actor"));
    assert_eq!(code(verb("if-match", "7")).await, is(400, "invalid-if-match"));
    let blank = server.ask(Method::POST, "/api/v1/runs/r/pause").header("content-type", "application/json");
    assert_eq!(code(blank.body(r#"{"reason": " "}"#)).await, is(422, "invalid-body"));
}

#[tokio::test]
async fn a_form_is_answered_in_its_role_alone() {
    let server = start().await;
    let answer = |role: &'static str| {
        let post = server.ask(Method::POST, "/api/v1/runs/r/forms/window").header("keyferry-actor", role);
        post.header("content-type", "application/json").body(
            r#"{"visit": "00000000-0-1", "answer": {"start": "now", "duration_hours": 8, "writers_stopped": true}}"#,
        )
    };
    assert_eq!(code(answer("customer; Jane Doe")).await, is(403, "wrong-role"));
    for role in ["csm", "admin"] {
        assert_ne!(code(answer(role)).await.0, 403, "{role}");
    }
}

#[tokio::test]
async fn a_definition_is_given_as_it_was_written() {
    let server = start().await;
    let listed: Value =
        server.ask(Method::GET, "/api/v1/workflows").send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(listed["items"][0]["name"], "noop");
    let source: Value =
        server.ask(Method::GET, "/api/v1/workflows/noop").send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(source["StartAt"], "End");
}
