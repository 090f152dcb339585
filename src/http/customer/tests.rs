//! The guard and the page of one-time links over a socket, with an endpoint that says who it was called by.

use std::{net::SocketAddr, time::Duration};

use axum::{Extension, Json, extract::Path, routing::put};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use super::*;
use crate::{
    access::{ApiKey, Caller, HandoverOrder, KeyOrder, KeyScope, KeyView, Networks},
    forms::Forms,
    http::{Limits, serve},
    store::SqliteStore,
    worker::{Clock as _, Definitions, ManualClock, NewEnterprise, Registry, ServiceOptions},
};

struct Server {
    address: SocketAddr,
    access: Access,
    clock: Arc<ManualClock>,
    client: Client,
    _folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

async fn who(Extension(caller): Extension<Caller>, Path(enterprise): Path<String>) -> Result<Json<Value>, Problem> {
    assert_eq!(enterprise, caller.enterprise, "the guard compares them");
    if caller.address.to_string() == "203.0.113.66" {
        return Err(Problem::new(StatusCode::CONFLICT, "import-token-used", "Used."));
    }
    Ok(Json(json!({
        "enterprise": caller.enterprise, "key": caller.key_id, "environment": caller.environment, "from": caller.address,
    })))
}

async fn breaks() -> StatusCode {
    panic!("a handler breaks");
}

async fn start(change: impl FnOnce(&mut Config)) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    change(&mut config);
    let config = Arc::new(config);
    // The real time of day: the store's and the limits' clock moves only when a test moves it.
    let clock = Arc::new(ManualClock::new(crate::worker::SystemClock.now()));
    let service = Service::open(ServiceOptions {
        store: Arc::new(SqliteStore::open(&folder.path().join("keyferry.db")).await.expect("a store")),
        definitions: Definitions::new(),
        steps: Registry::new(),
        forms: Arc::new(Forms::shipped().expect("forms")),
        clock: Arc::<ManualClock>::clone(&clock),
        config: Arc::clone(&config),
        poll: None,
    })
    .await
    .expect("a service");
    for id in ["dave", "erin"] {
        let new = NewEnterprise {
            id: id.to_owned(),
            name: "Dave & Sons".to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
        };
        service.add_enterprise(new).await.expect("added");
    }
    let access = Access::new(service, Arc::<ManualClock>::clone(&clock), &config);
    let metrics = Metrics::new().expect("names differ");
    let around = layers::Around { metrics: metrics.clone(), limit: Duration::from_secs(5) };
    let echo = || {
        Router::<Pages>::new()
            .route("/enterprises/{enterprise}/who", put(who))
            .route("/enterprises/{enterprise}/breaks", put(breaks))
    };
    let router = Router::new()
        .route("/handover/{id}", get(handover::page).post(handover::burn))
        .nest("/!/ems", guarded(&access, Environment::Production, KeyScope::Import, echo()))
        .nest("/test/!/ems", guarded(&access, Environment::Test, KeyScope::Import, echo()))
        .layer(middleware::from_fn_with_state(around, layers::around))
        .with_state(Pages { access: access.clone(), config });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, shutdown) = watch::channel(false);
    tokio::spawn(serve(listener, router, Limits::default(), shutdown));
    Server { address, access, clock, client: Client::new(), _folder: folder, _stop: stop }
}

impl Server {
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    fn who(&self, prefix: &str, enterprise: &str, key: &str) -> RequestBuilder {
        let path = format!("{prefix}/!/ems/enterprises/{enterprise}/who");
        self.ask(Method::PUT, &path).header("authorization", format!("ApiKey {key}"))
    }

    async fn key(&self, environment: Environment, networks: &[&str]) -> (KeyView, ApiKey) {
        let order = KeyOrder {
            enterprise: "dave".to_owned(),
            environment,
            scope: KeyScope::Import,
            networks: Networks::parse(networks).expect("networks"),
            expires_at: None,
            replaces: None,
            by: "ellen".to_owned(),
            idempotency_key: None,
        };
        self.access.create_key(order).await.expect("made")
    }

    async fn outcomes(&self) -> Vec<(String, Option<u16>)> {
        let page = self.access.trail("dave", 50, None).await.expect("a trail");
        let mut outcomes: Vec<_> =
            page.items.into_iter().map(|entry| (entry.outcome.unwrap_or_default(), entry.status)).collect();
        outcomes.sort();
        outcomes
    }
}

async fn code(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("answered");
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate").map(|value| value.as_bytes().to_vec());
    let expected = (status == 401).then(|| b"ApiKey realm=\"customers\"".to_vec());
    assert_eq!(challenge, expected, "only a 401 asks for a key");
    let body: Value = response.json().await.expect("a problem");
    (status, body["code"].as_str().expect("a code").to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_handler_hears_who_calls_from_where_and_the_trail_what_came_of_it() {
    let server = start(|_| {}).await;
    let (view, key) = server.key(Environment::Production, &[]).await;
    for scheme in ["ApiKey", "apikey", "APIKEY  "] {
        let asked = server
            .ask(Method::PUT, "/!/ems/enterprises/dave/who")
            .header("authorization", format!("{scheme} {}", key.reveal()));
        let heard: Value = asked.send().await.expect("answered").json().await.expect("JSON");
        let expected =
            json!({ "enterprise": "dave", "key": view.id, "environment": "production", "from": "127.0.0.1" });
        assert_eq!(heard, expected, "{scheme}");
    }
    assert_eq!(server.outcomes().await, vec![("done".to_owned(), Some(200)); 3]);
}

#[tokio::test]
async fn refusals_are_problems_with_stable_codes() {
    let server = start(|_| {}).await;
    let (_, live) = server.key(Environment::Production, &[]).await;
    let (_, test) = server.key(Environment::Test, &[]).await;
    let (live, test) = (live.reveal(), test.reveal());
    assert_eq!(code(server.ask(Method::PUT, "/!/ems/enterprises/dave/who")).await, is(401, "no-api-key"));
    let bearer = server.ask(Method::PUT, "/!/ems/enterprises/dave/who").bearer_auth(live);
    assert_eq!(code(bearer).await, is(401, "no-api-key"));
    assert_eq!(code(server.who("", "dave", &live[..60])).await, is(401, "api-key-mistyped"));
    let stranger = ApiKey::generate(Environment::Production).expect("random bits");
    assert_eq!(code(server.who("", "dave", stranger.reveal())).await, is(401, "api-key-unknown"));
    assert_eq!(code(server.who("", "erin", live)).await, is(404, "enterprise-not-found"));
    assert_eq!(code(server.who("", "%1b%5bnobody", live)).await, is(404, "enterprise-not-found"));
    let trail = server.access.trail("dave", 9, None).await.expect("a trail").items;
    let kept = "PUT /!/ems/enterprises/\u{fffd}[nobody/who";
    assert!(trail.iter().any(|entry| entry.action == kept), "what steers a terminal is not kept: {trail:?}");
    assert_eq!(code(server.who("/test", "dave", live)).await, is(403, "wrong-environment"));
    assert_eq!(code(server.who("", "dave", test)).await, is(403, "wrong-environment"));
    assert_eq!(server.who("/test", "dave", test).send().await.expect("answered").status(), 200);
    let (view, short) = server.key(Environment::Production, &["10.0.0.0/8"]).await;
    assert_eq!(code(server.who("", "dave", short.reveal())).await, is(403, "network-not-allowed"));
    server.access.revoke_key("dave", &view.id, "test", "ellen").await.expect("revoked");
    assert_eq!(code(server.who("", "dave", short.reveal())).await, is(401, "api-key-revoked"));
    let outcomes: Vec<String> = server.outcomes().await.into_iter().map(|(outcome, _)| outcome).collect();
    let expected = [
        "api-key-revoked",
        "done",
        "enterprise-not-found",
        "enterprise-not-found",
        "network-not-allowed",
        "wrong-environment",
        "wrong-environment",
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_a_problem_of_a_handler_is_in_the_trail() {
    let server = start(|config| config.customer.trusted_proxies = vec!["127.0.0.0/8".to_owned()]).await;
    let (_, key) = server.key(Environment::Production, &["203.0.113.0/24"]).await;
    let from = |address: &str| server.who("", "dave", key.reveal()).header("x-forwarded-for", address);
    let heard: Value = from("1.1.1.1, 203.0.113.9").send().await.expect("answered").json().await.expect("JSON");
    assert_eq!(heard["from"], "203.0.113.9");
    assert_eq!(code(from("203.0.113.9, 198.51.100.4")).await, is(403, "network-not-allowed"));
    assert_eq!(code(from("203.0.113.66")).await, is(409, "import-token-used"));
    let other = server.who("", "dave", key.reveal()).header("forwarded", "for=203.0.113.9");
    assert_eq!(code(other).await, is(403, "network-not-allowed"), "the other header is not believed");
    assert!(server.outcomes().await.contains(&("import-token-used".to_owned(), Some(409))));
}

#[tokio::test]
async fn without_a_trusted_proxy_nobody_says_where_they_come_from() {
    let server = start(|_| {}).await;
    let (_, key) = server.key(Environment::Production, &["203.0.113.0/24"]).await;
    let claimed = server.who("", "dave", key.reveal()).header("x-forwarded-for", "203.0.113.9");
    assert_eq!(code(claimed).await, is(403, "network-not-allowed"));
}

#[tokio::test]
async fn a_handler_that_panics_is_in_the_trail() {
    let server = start(|_| {}).await;
    let (_, key) = server.key(Environment::Production, &[]).await;
    let asked = server.ask(Method::PUT, "/!/ems/enterprises/dave/breaks");
    let asked = asked.header("authorization", format!("ApiKey {}", key.reveal()));
    assert_eq!(code(asked).await, is(500, "internal"));
    assert_eq!(server.outcomes().await, [("internal".to_owned(), Some(500))]);
}

#[tokio::test]
async fn a_limited_request_says_when_to_come_again() {
    let server = start(|config| config.customer.key_requests_per_minute = 2).await;
    let (_, key) = server.key(Environment::Production, &[]).await;
    for _ in 0..2 {
        assert_eq!(server.who("", "dave", key.reveal()).send().await.expect("answered").status(), 200);
    }
    let limited = server.who("", "dave", key.reveal()).send().await.expect("answered");
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].as_bytes()), (429, &b"30"[..]));
    let body: Value = limited.json().await.expect("a problem");
    assert_eq!((&body["code"], &body["retry_after"]), (&json!("rate-limited"), &json!(30)));
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(server.who("", "dave", key.reveal()).send().await.expect("answered").status(), 200);
}

async fn link(server: &Server) -> (String, String) {
    let order = HandoverOrder {
        idempotency_key: None,
        enterprise: "dave".to_owned(),
        environment: Environment::Production,
        networks: Networks::default(),
        key_days: None,
        valid_hours: 1,
        by: "ellen".to_owned(),
    };
    let made = server.access.hand_over(order).await.expect("a link");
    (format!("/handover/{}", made.id), made.code().to_owned())
}

async fn page(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("answered");
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    let policy = headers["content-security-policy"].to_str().expect("ASCII");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    (response.status().as_u16(), response.text().await.expect("text"))
}

#[tokio::test]
async fn opening_a_link_any_number_of_times_burns_nothing_and_its_button_shows_the_key_once() {
    let server = start(|_| {}).await;
    let (path, code) = link(&server).await;
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let (status, text) = page(server.ask(method.clone(), &path)).await;
        assert_eq!((status, text.contains("<form method=\"post\"")), (200, method == Method::GET));
        assert!(!text.contains("kf_live_"));
    }
    assert!(server.access.keys("dave").await.expect("keys").is_empty());
    let post = |body: String| {
        server.ask(Method::POST, &path).header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    assert_eq!(page(post("code=wrong".to_owned())).await.0, 404);
    assert_eq!(page(post(String::new())).await.0, 400);
    let whole = format!("code=https%3A%2F%2Fglobal.replicon.example{}%23{code}", path.replace('/', "%2F"));
    let (status, text) = page(post(whole)).await;
    assert_eq!(status, 200, "{text}");
    let start = text.find("kf_live_").expect("the key is shown");
    let key = &text[start..start + 70];
    assert_eq!(server.who("", "dave", key).send().await.expect("answered").status(), 200);
    let (status, text) = page(post(format!("code={code}"))).await;
    assert_eq!((status, text.contains("was used at"), text.contains("kf_live_")), (410, true, false), "{text}");
    assert_eq!(server.access.keys("dave").await.expect("keys").len(), 1);
}

#[tokio::test]
async fn an_expired_link_and_one_that_never_was_say_what_to_do() {
    let server = start(|_| {}).await;
    let (path, code) = link(&server).await;
    let post = |path: &str| {
        let asked = server.ask(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        asked.body(format!("code={code}"))
    };
    server.clock.advance(Duration::from_secs(3_600));
    let (status, text) = page(post(&path)).await;
    assert_eq!((status, text.contains("has expired")), (410, true), "{text}");
    assert_eq!(page(post("/handover/nosuchlink00")).await.0, 404);
    assert_eq!(page(server.ask(Method::GET, "/handover/nosuchlink00")).await.0, 200, "only a code's holder is told");
}

#[test]
fn the_document_has_the_paths_that_there_are() {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let documented: Vec<&str> = document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    assert_eq!(documented, [import::PATHS, audits::PATHS].concat());
    let mut left = vec![&document];
    let mut references = 0;
    while let Some(value) = left.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        left.extend(value.as_object().into_iter().flat_map(|members| members.values()));
        left.extend(value.as_array().into_iter().flatten());
    }
    assert!(references > 20, "only {references} references were seen");
}
