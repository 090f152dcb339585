//! What comes twice, too early, too late or in a crowd, and clients that go away in the middle: on both stores.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use keyferry::{
    store::PostgresStore,
    worker::{Clock as _, RunFilter},
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use super::*;
use crate::support::patience::PATIENCE;
use crate::support::postgres::Database;

const WORKFLOWS: &[(&str, &str)] = &[
    ("noop", NOOP),
    ("broken", BROKEN),
    (
        "approval",
        r#"{"StartAt": "Nap", "States": {
            "Nap": {"Type": "Wait", "Seconds": 2, "Next": "First"},
            "First": {"Type": "Task", "Resource": "urn:keyferry:form:purge-approval", "Next": "Second"},
            "Second": {"Type": "Task", "Resource": "urn:keyferry:form:window", "End": true}}}"#,
    ),
];

/// Two states in a row that an engineer has to look after.
const BROKEN: &str = r#"{"StartAt": "First", "States": {
    "First": {"Type": "Pass", "Parameters": {"x.$": "$.missing"}, "Next": "Second"},
    "Second": {"Type": "Pass", "Parameters": {"x.$": "$.missing"}, "End": true}}}"#;

/// A server over a store, with a worker.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) service: Service,
    /// Where the store is, for as long as the scene is played.
    folder: Option<TempDir>,
    database: Option<Database>,
    sqlite: Option<SqliteStore>,
}

impl Scene {
    async fn set(name: &'static str, store: Arc<dyn Store>) -> Self {
        let service = service_over(store, WORKFLOWS).await;
        let server = start_over(service.clone()).await;
        let (runner, stopped) = (service.clone(), server.stop.subscribe());
        tokio::spawn(async move { runner.run_worker(stopped, Duration::ZERO).await });
        let dave = server.ask(Method::POST, "/api/v1/enterprises").json(&json!({ "id": "dave" }));
        assert_eq!(dave.send().await.expect("answered").status(), 201);
        Self { name, server, service, folder: None, database: None, sqlite: None }
    }

    /// One over each store; PostgreSQL's is left out, loudly, where there is none.
    pub(super) async fn all() -> Vec<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("keyferry.db")).await.expect("a store");
        let sqlite = Some(store.clone());
        let mut all = vec![Self { folder: Some(folder), sqlite, ..Self::set("SQLite", Arc::new(store)).await }];
        if let Some(database) = Database::make().await {
            let store = PostgresStore::open(&database.url).await.expect("a store");
            all.push(Self { database: Some(database), ..Self::set("PostgreSQL", Arc::new(store)).await });
        }
        all
    }

    /// Another process's server over the same store, after the end of the first.
    pub(super) async fn again(mut self) -> Self {
        self.server.stop.send_replace(true);
        let folder = self.folder.take();
        let store: Arc<dyn Store> = match (&folder, &self.database) {
            (Some(folder), _) => {
                let path = folder.path().join("keyferry.db");
                self.sqlite.take().expect("it is open").close().await;
                Arc::new(SqliteStore::open(&path).await.expect("it is free"))
            }
            (None, Some(database)) => Arc::new(PostgresStore::open(&database.url).await.expect("a store")),
            (None, None) => panic!("a scene is on one of the two"),
        };
        Self { folder, database: self.database.take(), ..Self::set(self.name, store).await }
    }

    pub(super) fn start(&self, key: &str, body: &Value) -> RequestBuilder {
        let post = self.server.ask(Method::POST, "/api/v1/enterprises/dave/runs");
        post.header("idempotency-key", key).json(body)
    }

    /// Status, and the run or problem.
    pub(super) async fn said(request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.expect("answered");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    async fn runs(&self) -> Vec<String> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.service.runs(RunFilter { limit: Some(200), cursor, ..RunFilter::default() }).await;
            let page = page.expect("read");
            all.extend(page.items.into_iter().map(|run| run.id));
            cursor = page.next;
            if cursor.is_none() {
                return all;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_with_one_idempotency_key_starts_one_run_and_another_request_with_it_is_refused() {
    for scene in Scene::all().await {
        let body = json!({ "workflow": "noop", "input": { "n": 1 } });
        let answers = join_all((0..50).map(|_| Scene::said(scene.start("one", &body)))).await;
        let first = &answers[0].1["id"];
        for (status, run) in &answers {
            assert_eq!((*status, &run["id"]), (201, first), "{}: {run}", scene.name);
        }
        assert_eq!(scene.runs().await.len(), 1, "{}", scene.name);
        let other = scene.start("one", &json!({ "workflow": "noop", "input": { "n": 2 } }));
        assert_eq!(code(other).await, is(422, "idempotency-key-reused"), "{}", scene.name);
        let other = scene.start("two", &body);
        assert_eq!(Scene::said(other).await.0, 201, "{}: another key starts another run", scene.name);
        assert_eq!(scene.runs().await.len(), 2, "{}", scene.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_comes_thrice_too_early_or_too_late_has_one_effect() {
    for scene in Scene::all().await {
        let (status, run) = Scene::said(scene.start("a", &json!({ "workflow": "approval" }))).await;
        assert_eq!(status, 201, "{run}");
        let id = run["id"].as_str().expect("a run").to_owned();
        let answer = |form: &str, visit: &str, answer: Value| {
            let path = format!("/api/v1/runs/{id}/forms/{form}");
            Scene::said(scene.server.ask(Method::POST, &path).json(&json!({ "visit": visit, "answer": answer })))
        };
        // A refusal: an approval is of a list, and this form was given none.
        let approve = |visit| answer("purge-approval", visit, json!({ "approve": false, "reason": "not yet" }));
        let window =
            |visit| answer("window", visit, json!({ "start": "now", "duration_hours": 8, "writers_stopped": true }));
        let refused = |code: &str, (status, problem): (u16, Value)| {
            assert_eq!((status, problem["code"].as_str()), (409, Some(code)), "{}: {problem}", scene.name);
        };
        let nap = run["waiting_for"][0]["visit"].as_str().expect("it naps").to_owned();
        refused("visit-over", approve(&nap).await);
        refused("visit-over", window(&nap).await);
        let began = Instant::now();
        while scene.service.form_input(&id, "purge-approval").await.is_err() {
            assert!(began.elapsed() < PATIENCE, "{}: the form does not open", scene.name);
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        let first = scene.service.open_form(&id, "purge-approval").await.expect("open").visit.to_string();
        refused("form-not-open", window(&first).await);
        refused("visit-over", approve(&nap).await);
        let answers = join_all((0..3).map(|_| approve(&first))).await;
        let taken = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(taken, 1, "{}: {answers:?}", scene.name);
        assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 409)), "{}: {answers:?}", scene.name);
        refused("visit-over", approve(&first).await);
        let second = scene.service.open_form(&id, "window").await.expect("open").visit.to_string();
        let (status, view) = window(&second).await;
        assert_eq!((status, &view["status"]), (200, &json!("succeeded")), "{}: {view}", scene.name);
        refused("visit-over", window(&second).await);
        refused("visit-over", approve(&first).await);
        let rows = scene.service.history(&id, 100, None).await.expect("read").items;
        let answered = rows.iter().filter(|row| row.event["event"] == "form-answered").count();
        assert_eq!(answered, 2, "{}: one answer of each form is kept", scene.name);
        assert!(scene.service.verify(&id).await.expect("read").ok, "{}", scene.name);
    }
}

/// Asks for a run and goes away after `delay`. Gives the answer as far as it had come by then.
fn go_away(address: SocketAddr, key: &str, delay: Duration) -> String {
    let body = r#"{"workflow": "noop"}"#;
    let request = format!(
        "POST /api/v1/enterprises/dave/runs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    // A sleep would be longer than most of these times.
    let sent = Instant::now();
    while sent.elapsed() < delay {
        std::thread::yield_now();
    }
    stream.set_nonblocking(true).expect("set");
    let mut heard = vec![0; 65_536];
    let length = stream.read(&mut heard).unwrap_or(0);
    String::from_utf8_lossy(&heard[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_in_the_middle_leaves_its_request_done_once_and_no_transaction_open() {
    // Within a request's first moments densely, then up to where most are answered; and at last, on a machine that is very busy,
    // for as long as it takes until one is.
    let first = (20..=610).step_by(10).chain((700..=6_000).step_by(100)).chain([10_000, 20_000, 200_000]);
    let delays: Vec<u64> = first.chain([1_000_000, 5_000_000, 20_000_000]).collect();
    for scene in Scene::all().await {
        let (mut left, mut answered, mut keys) = (0, Vec::new(), Vec::new());
        for delay in &delays {
            if *delay > 200_000 && !answered.is_empty() {
                break;
            }
            let (address, key) = (scene.server.address, format!("gone-{delay}"));
            keys.push(key.clone());
            let delay = Duration::from_micros(*delay);
            let heard = tokio::task::spawn_blocking({
                let key = key.clone();
                move || go_away(address, &key, delay)
            });
            let heard = heard.await.expect("no panic");
            if heard.starts_with("HTTP/1.1 201") {
                answered.push((key, heard));
            } else {
                left += 1;
            }
        }
        assert!(
            left >= 30 && !answered.is_empty(),
            "{}: {left} went away, {} were answered",
            scene.name,
            answered.len()
        );
        // Who goes away does not take the work with them: what was begun comes to its end.
        let began = Instant::now();
        while scene.service.stats().await.vitals.pools.iter().any(|pool| pool.idle < pool.size) {
            assert!(began.elapsed() < PATIENCE, "{}: {:?}", scene.name, scene.service.stats().await.vitals);
            SystemClock.sleep(Duration::from_millis(5)).await;
        }
        if let Some(database) = &scene.database {
            let mut beside = PgConnection::connect(&database.url).await.expect("the server answers");
            let open =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
            let open: i64 = sqlx::query_scalar(open).fetch_one(&mut beside).await.expect("asked");
            assert_eq!(open, 0, "sessions were left in a transaction");
        }
        let done = scene.runs().await.len();
        assert!(done > answered.len(), "{}: nobody went away in the middle", scene.name);
        for (key, heard) in &answered {
            let (status, run) = Scene::said(scene.start(key, &json!({ "workflow": "noop" }))).await;
            assert_eq!(status, 201, "{run}");
            assert!(
                heard.contains(run["id"].as_str().expect("a run")),
                "{}: {key} was answered and is lost",
                scene.name
            );
        }
        assert_eq!(scene.runs().await.len(), done, "{}: an answered request was done again", scene.name);
        for key in &keys {
            let (status, run) = Scene::said(scene.start(key, &json!({ "workflow": "noop" }))).await;
            assert_eq!((status, &run["status"]), (201, &json!("succeeded")), "{}", scene.name);
        }
        assert_eq!(scene.runs().await.len(), keys.len(), "{}: each request has one run", scene.name);
        eprintln!(
            "{}: {left} went away before the answer, {done} of {} requests were done by then",
            scene.name,
            keys.len()
        );
        // As many at once as there may be connections, and more.
        let path = "/api/v1/runs?limit=1";
        let many = join_all((0..100).map(|_| Scene::said(scene.server.ask(Method::GET, path)))).await;
        assert!(many.iter().all(|(status, _)| *status == 200), "{}: the pool is not whole", scene.name);
    }
}
