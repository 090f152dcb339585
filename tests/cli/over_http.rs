//! The commands that speak to a server, against one that answers what the test says and remembers what it was asked.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::IntoResponse,
};
use keyferry::http::{Limits, serve};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use super::keyferry;

/// What the server was asked.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    headers: HeaderMap,
    body: Value,
}

/// What it answers: the request line, status, content type, body.
type Script = Vec<(&'static str, u16, &'static str, String)>;

struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _stop: watch::Sender<bool>,
}

async fn server(script: Script) -> Server {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
        let line = format!("{method} {uri}");
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        heard.lock().expect("no panic held it").push(Asked { line: line.clone(), headers, body });
        match script.iter().find(|(expected, ..)| *expected == line) {
            Some((_, status, kind, body)) => {
                let status = StatusCode::from_u16(*status).expect("a status");
                (status, [(header::CONTENT_TYPE, *kind)], body.clone()).into_response()
            }
            None => (StatusCode::NOT_IMPLEMENTED, format!("no answer to {line}")).into_response(),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, shutdown) = watch::channel(false);
    tokio::spawn(serve(listener, Router::new().fallback(answer), Limits::default(), shutdown));
    Server { address, asked, _stop: stop }
}

impl Server {
    /// Runs the program against this server, with `input` on its standard input.
    async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = keyferry(arguments);
        command
            .env("KEYFERRY_URL", format!("http://{}", self.address))
            .env("KEYFERRY_TOKEN", "kfa_test")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = input.to_owned();
        let run = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("the program runs");
            let mut stdin = child.stdin.take().expect("stdin is piped");
            stdin.write_all(input.as_bytes()).expect("read");
            drop(stdin);
            child.wait_with_output().expect("the program ends")
        });
        run.await.expect("no panic")
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic held it").clone()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run_view(status: &str) -> Value {
    json!({
        "id": "r-1", "enterprise": "dave", "workflow": "customer-managed", "definition": "0", "status": status,
        "parent": null, "children": [], "revision": 5, "started_at": "2026-03-02T10:00:00Z",
        "started_by": {"name": "admin", "role": "engineer"}, "ended_at": null,
        "summary": "waits for the customer's answer to the form key-arns since 2026-03-02T10:05:00Z",
        "working_in": [], "attention": [], "output": null, "error": null, "cause": null,
        "waiting_for": [{
            "run": "r-1", "frame": 0, "visit": "1f9c03ab-0-5", "state": "AskKeys", "on": "customer", "what": "the customer's answer to the form key-arns",
            "form": "key-arns", "since": "2026-03-02T10:05:00Z", "until": null
        }]
    })
}

fn ok(line: &'static str, body: &Value) -> (&'static str, u16, &'static str, String) {
    (line, 200, "application/json", body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_with_its_input_its_key_and_who_acts() {
    let server = server(vec![ok("POST /api/v1/enterprises/dave/runs", &run_view("working"))]).await;
    let arguments = ["run", "start", "dave", "--workflow", "customer-managed", "--input", "-"];
    let more = ["--idempotency-key", "k-1", "--as", "csm; Cleo", "--output", "json"];
    let output = server.run(&[&arguments[..], &more[..]].concat(), r#"{"a": 1}"#).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(printed["id"], "r-1");
    let asked = server.asked();
    assert_eq!(asked[0].body, json!({"workflow": "customer-managed", "input": {"a": 1}}));
    assert_eq!(asked[0].headers["authorization"], "Bearer kfa_test");
    assert_eq!(asked[0].headers["idempotency-key"], "k-1");
    assert_eq!(asked[0].headers["keyferry-actor"], "csm; Cleo");
}

#[tokio::test(flavor = "multi_thread")]
async fn show_says_in_one_line_what_the_run_waits_for_on_whom_and_since_when() {
    let server = server(vec![ok("GET /api/v1/runs/r-1", &run_view("waiting"))]).await;
    let output = server.run(&["run", "show", "r-1"], "").await;
    let said = stdout(&output);
    let line = said.lines().find(|line| line.contains("AskKeys")).expect("a line about the wait");
    assert_eq!(
        line.trim(),
        "AskKeys waits for the customer's answer to the form key-arns, on customer, since 2026-03-02T10:05:00Z, at 1f9c03ab-0-5"
    );
    let commands: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("keyferry run ")).collect();
    assert_eq!(
        commands,
        [
            "keyferry run answer r-1 key-arns --at 1f9c03ab-0-5 --data FILE",
            "keyferry run pause r-1 --at 5 --reason TEXT",
            "keyferry run cancel r-1 --at 5 --reason TEXT",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_answer_prints_each_finding_with_its_place() {
    let problem = json!({
        "type": "urn:keyferry:problem:answer-refused", "title": "Unprocessable Entity", "status": 422,
        "code": "answer-refused", "detail": "The answer has 1 finding.",
        "findings": [{"pointer": "/keys/us-west-2", "message": "is the ARN of an alias"}]
    });
    let line = "POST /api/v1/runs/r-1/forms/key-arns";
    let server = server(vec![(line, 422, "application/problem+json", problem.to_string())]).await;
    let answer = r#"{"keys": {"us-west-2": "arn:aws:kms:us-west-2:1:alias/a"}}"#;
    let command = ["run", "answer", "r-1", "key-arns", "--at", "1f9c03ab-0-5", "--data", "-"];
    let output = server.run(&command, answer).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(stderr(&output).contains("\n  /keys/us-west-2: is the ARN of an alias"), "{}", stderr(&output));
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    assert_eq!(server.asked()[0].body, json!({"visit": "1f9c03ab-0-5", "answer": answer}));
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_send_what_was_seen_their_value_and_reason() {
    let server = server(vec![
        ok("POST /api/v1/runs/r-1/retry", &run_view("working")),
        ok("POST /api/v1/runs/r-1/skip", &run_view("working")),
        ok("POST /api/v1/runs/r-1/cancel", &run_view("cancelled")),
    ])
    .await;
    let at = ["--at", "1f9c03ab-3-5"];
    let retry = ["run", "retry", "r-1", at[0], at[1], "--input", "-", "--reason", "quota raised"];
    server.run(&retry, "{}").await;
    server.run(&["run", "skip", "r-1", at[0], at[1], "--reason", "done by hand"], "").await;
    let cancel = ["run", "cancel", "r-1", "--at", "5", "--reason", "wrong regions"];
    let cancelled = server.run(&cancel, "").await;
    assert!(cancelled.status.success(), "{}", stderr(&cancelled));
    let asked: Vec<(String, Value)> = server.asked().into_iter().map(|asked| (asked.line, asked.body)).collect();
    let post = |verb: &str, body: Value| (format!("POST /api/v1/runs/r-1/{verb}"), body);
    assert_eq!(
        asked,
        [
            post("retry", json!({"visit": at[1], "reason": "quota raised", "input": {}})),
            post("skip", json!({"visit": at[1], "reason": "done by hand"})),
            post("cancel", json!({"reason": "wrong regions"})),
        ]
    );
    assert_eq!(server.asked()[2].headers["if-match"], "\"5\"");
    server.run(&["run", "cancel", "r-1", "--at", "any", "--reason", "whatever it does"], "").await;
    assert!(!server.asked()[3].headers.contains_key("if-match"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_without_what_was_seen_and_without_a_terminal_is_told_what_to_type() {
    let server = server(vec![ok("GET /api/v1/runs/r-1", &run_view("waiting"))]).await;
    let answer = server.run(&["run", "answer", "r-1", "key-arns", "--data", "-", "--as", "csm; Cleo"], "{}").await;
    let said = "keyferry run answer r-1 key-arns --data - --as 'csm; Cleo' --at 1f9c03ab-0-5";
    assert!(stderr(&answer).contains(said), "{}", stderr(&answer));
    let pause = server.run(&["run", "pause", "r-1", "--reason", "a freeze"], "").await;
    assert!(stderr(&pause).contains("keyferry run pause r-1 --reason 'a freeze' --at 5"), "{}", stderr(&pause));
    assert_eq!((answer.status.code(), pause.status.code()), (Some(2), Some(2)));
    let skip = server.run(&["run", "skip", "r-1", "--reason", "why"], "").await;
    assert!(stderr(&skip).contains("there is nothing to skip in run r-1"), "{}", stderr(&skip));
    assert!(server.asked().iter().all(|asked| asked.line.starts_with("GET ")), "nothing was sent");
}

fn events(views: &[Value]) -> (&'static str, u16, &'static str, String) {
    let body: String =
        views.iter().map(|view| format!(": ping\n\nevent: run\nid: {}\ndata: {view}\n\n", view["revision"])).collect();
    ("GET /api/v1/runs/r-1/events", 200, "text/event-stream", body)
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_prints_each_change_and_ends_with_the_run() {
    for (end, code) in [("succeeded", 0), ("failed", 1), ("cancelled", 1)] {
        let server = server(vec![events(&[run_view("working"), run_view("working"), run_view(end)])]).await;
        let output = server.run(&["run", "watch", "r-1", "--output", "json"], "").await;
        assert_eq!(output.status.code(), Some(code), "{end}");
        let statuses: Vec<String> = stdout(&output)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["status"].to_string())
            .collect();
        assert_eq!(statuses, ["\"working\"".to_owned(), format!("\"{end}\"")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_does_not_hold_is_exit_code_one() {
    let found = json!({"run": "r-1", "rows": 9, "ok": false, "first_bad": 4, "findings": ["row 4: the hash differs"]});
    let server = server(vec![ok("GET /api/v1/runs/r-1/verification", &found)]).await;
    let output = server.run(&["run", "verify", "r-1"], "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("row 4: the hash differs"), "{}", stdout(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_follow_the_cursor_to_the_end() {
    let first = json!({"items": [run_view("waiting")], "next": "c&1"});
    let last = json!({"items": [run_view("failed")], "next": null});
    let server = server(vec![
        ok("GET /api/v1/runs?enterprise=dave&limit=200", &first),
        ok("GET /api/v1/runs?enterprise=dave&limit=200&cursor=c%261", &last),
    ])
    .await;
    let output = server.run(&["run", "list", "--enterprise", "dave", "--output", "json"], "").await;
    let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_report_is_shown_and_a_deviation_is_exit_code_one() {
    let report = |key: &str, at: &str, conclusion: &str, deviations: Value| {
        json!({
            "enterprise": "dave", "collection": "report", "key": key, "run": "r-1", "version": 1, "written_at": at,
            "body": {"summary": {"conclusion": conclusion}, "deviations": deviations, "resources": []}
        })
    };
    let old = report("a", "2026-03-01T00:00:00Z", "compliant", json!([]));
    let new = report("b", "2026-03-02T00:00:00Z", "deviations", json!([{"resource": "db-1", "found": "wrong-key"}]));
    let unsure = report("c", "2026-03-02T00:00:00Z", "not-proven", json!([]));
    let server = server(vec![
        ok("GET /api/v1/enterprises/dave/audits?limit=200", &json!({"items": [new, old.clone()], "next": null})),
        ok("GET /api/v1/enterprises/dave/audits/a", &old),
        ok("GET /api/v1/enterprises/dave/audits/c", &unsure),
    ])
    .await;
    let newest = server.run(&["audit", "show", "dave"], "").await;
    assert_eq!(newest.status.code(), Some(1));
    assert!(stdout(&newest).contains("resource db-1, found wrong-key"), "{}", stdout(&newest));
    let clean = server.run(&["audit", "show", "dave", "a"], "").await;
    assert_eq!(clean.status.code(), Some(0), "{}", stderr(&clean));
    let listed = server.run(&["audit", "list", "dave"], "").await;
    assert!(stdout(&listed).contains("deviations") && stdout(&listed).contains("compliant"), "{}", stdout(&listed));
    let unproven = server.run(&["audit", "show", "dave", "c"], "").await;
    assert_eq!(unproven.status.code(), Some(1), "not proven is not compliant");
}
