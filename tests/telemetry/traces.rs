//! Traces and logs of real processes, with a collector that keeps what it is sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use keyferry::{
    http::{Limits, serve},
    worker::{Clock as _, SystemClock},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::{Span, status::StatusCode as Outcome},
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::cli::keyferry;
use crate::support::patience::{PATIENCE, looks};

/// What came: each span with the resource of its process.
type Spans = Arc<Mutex<Vec<(Vec<KeyValue>, Span)>>>;

struct Collector {
    endpoint: String,
    spans: Spans,
    _stop: watch::Sender<bool>,
}

async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
    for of_process in request.resource_spans {
        let resource = of_process.resource.expect("a resource").attributes;
        let found = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.lock().unwrap().extend(found.map(|span| (resource.clone(), span)));
    }
    StatusCode::OK
}

impl Collector {
    async fn start() -> Self {
        let spans = Spans::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, shutdown) = watch::channel(false);
        tokio::spawn(serve(listener, router, Limits::default(), shutdown));
        Self { endpoint, spans, _stop: stop }
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A `keyferry serve` that sends its spans, and what it said on standard error.
struct Process {
    child: Child,
    address: String,
    token: String,
}

impl Process {
    async fn start(data: &std::path::Path, endpoint: &str) -> Self {
        let mut command = keyferry(&["serve", "--listen", "127.0.0.1:0", "--output", "json", "--log-format", "json"]);
        command.arg("--data-dir").arg(data).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        let token_file = data.join("admin-token");
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("the program runs");
            let address = crate::cli::listening(&mut child);
            let token = std::fs::read_to_string(token_file).expect("a token").trim().to_owned();
            Self { child, address, token }
        })
        .await
        .unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = reqwest::Client::new().post(format!("http://{}/api/v1/{path}", self.address));
        let response = request.bearer_auth(&self.token).json(&body).send().await.expect("answered");
        assert!(response.status().is_success(), "{path}: {:?}", response.text().await);
        response.json().await.expect("JSON")
    }

    /// Waits until the run stands in attention with at least this revision; gives the revision and the visit.
    async fn until_attention(&self, run: &str, revision: u64) -> (u64, Value) {
        for _ in looks() {
            let request = reqwest::Client::new().get(format!("http://{}/api/v1/runs/{run}", self.address));
            let view: Value = request.bearer_auth(&self.token).send().await.expect("answered").json().await.unwrap();
            if view["status"] == "attention" && view["revision"].as_u64() >= Some(revision) {
                return (view["revision"].as_u64().unwrap(), view["attention"][0]["visit"].clone());
            }
            SystemClock.sleep(Duration::from_millis(20)).await;
        }
        panic!("the run does not come into attention");
    }

    /// Ends it in order and gives its log.
    async fn end(self) -> Vec<Value> {
        tokio::task::spawn_blocking(move || {
            let sent = std::process::Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            assert!(sent.expect("kill runs").success());
            let output = self.child.wait_with_output().expect("it ends");
            assert!(output.status.success());
            let lines = String::from_utf8(output.stderr).unwrap();
            lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        })
        .await
        .unwrap()
    }
}

fn identifier(run: &str) -> Vec<u8> {
    hex::decode(run.replace('-', "")).expect("a UUID")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_one_trace_in_whatever_processes_it_is_worked_on() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), &collector.endpoint).await;
    first.post("enterprises", json!({ "id": "dave", "name": "Dave", "partition": "aws" })).await;
    // What the step takes is not there, so it fails and the run stands in attention.
    let secret = json!({ "workflow": "final-steps", "input": { "plan": {}, "keys": {}, "secret": "canary-5b1f" } });
    let started = first.post("enterprises/dave/runs", secret).await;
    let run = started["id"].as_str().unwrap().to_owned();
    let (revision, visit) = first.until_attention(&run, 1).await;
    let log = first.end().await;

    let second = Process::start(folder.path(), &collector.endpoint).await;
    second.post(&format!("runs/{run}/retry"), json!({ "visit": visit, "reason": "once more" })).await;
    second.until_attention(&run, revision + 2).await;
    second.post(&format!("runs/{run}/cancel"), json!({ "reason": "enough" })).await;
    second.end().await;

    let spans = collector.spans.lock().unwrap();
    let steps: Vec<_> = spans.iter().filter(|(_, span)| span.name == "take-inventory").collect();
    assert_eq!(steps.len(), 2, "{spans:#?}");
    let processes: BTreeSet<_> = steps.iter().map(|(of, _)| text(of, "service.instance.id").unwrap()).collect();
    assert_eq!(processes.len(), 2, "both processes sent one");
    let (of, root) = spans.iter().find(|(_, span)| span.parent_span_id.is_empty()).expect("a root");
    assert_eq!((root.name.as_str(), text(&root.attributes, "outcome")), ("run final-steps", Some("cancelled")));
    assert_eq!(text(of, "service.name"), Some("keyferry"));
    assert_eq!(text(of, "deployment.environment.name"), Some("test"));
    assert!(root.end_time_unix_nano > root.start_time_unix_nano);
    for (_, span) in spans.iter() {
        assert_eq!(span.trace_id, identifier(&run), "{span:#?}");
    }
    for (_, step) in steps {
        assert_eq!(step.parent_span_id, root.span_id);
        assert_eq!(text(&step.attributes, "run.id"), Some(run.as_str()));
        assert_eq!(text(&step.attributes, "enterprise"), Some("dave"));
        assert_eq!(text(&step.attributes, "step.name"), Some("take-inventory"));
        assert_eq!(text(&step.attributes, "outcome"), Some("failed"));
        assert_eq!(text(&step.attributes, "error.type"), Some("Keyferry.BadInput"));
        assert_eq!(step.status.as_ref().map(|status| status.code), Some(Outcome::Error as i32));
    }
    assert!(!format!("{spans:?}").contains("canary-5b1f"), "what a run was given is in no span");

    let line = log.iter().find(|line| line["message"] == "the step failed").expect("a line of the step");
    assert_eq!((&line["run.id"], &line["step.name"]), (&json!(run), &json!("take-inventory")));
    assert_eq!((&line["enterprise"], &line["step.attempt"]), (&json!("dave"), &json!(1)));
    assert_eq!(line["error"], "Keyferry.BadInput");
    assert!(log.iter().any(|line| line["message"] == "the run stands in attention" && line["run.id"] == json!(run)));
}

#[test]
fn a_protocol_that_is_not_spoken_is_refused_with_the_one_that_is() {
    let output = keyferry(&["workflow", "check", "workflows/compliance-audit.asl.json"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("http/protobuf"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_holds_nothing_up_and_is_told_of() {
    // Connections are taken by the system and by nobody else.
    let black_hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", black_hole.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &endpoint).await;
    process.post("enterprises", json!({ "id": "dave", "name": "Dave", "partition": "aws" })).await;
    let fails = json!({ "workflow": "final-steps", "input": { "plan": {}, "keys": {} } });
    let started = process.post("enterprises/dave/runs", fails).await;
    process.until_attention(started["id"].as_str().unwrap(), 1).await;
    let began = std::time::Instant::now();
    let log = process.end().await;
    assert!(began.elapsed() < PATIENCE, "it took {:?} to end", began.elapsed());
    let told = log.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains("spans could not be")));
    assert!(told, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_an_onboarding_is_under_its_runs_root_and_the_child_run_is_linked() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut demo = keyferry(&["demo", "--data-dir"]);
    demo.arg(folder.path()).env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
    let output = tokio::task::spawn_blocking(move || demo.output().expect("the program runs")).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let spans = collector.spans.lock().unwrap();
    let spans: Vec<&Span> = spans.iter().map(|(_, span)| span).collect();
    let roots: BTreeMap<&[u8], &Span> = spans
        .iter()
        .filter(|span| span.parent_span_id.is_empty())
        .map(|span| (span.trace_id.as_slice(), *span))
        .collect();
    let names: BTreeSet<&str> = roots.values().map(|span| span.name.as_str()).collect();
    assert!(names.contains("run customer-managed") && names.contains("run final-steps"), "{names:?}");
    let below: Vec<_> = spans.iter().filter(|span| !span.parent_span_id.is_empty()).collect();
    assert!(below.len() > 20, "{} spans", below.len());
    for span in &below {
        let root = roots.get(span.trace_id.as_slice()).expect("every trace has a root");
        assert_eq!(span.parent_span_id, root.span_id, "{}", span.name);
    }
    let child = below.iter().find(|span| span.name == "child final-steps").expect("the parent's span of its child");
    assert_eq!(roots[child.trace_id.as_slice()].name, "run customer-managed");
    let linked = roots.get(child.links[0].trace_id.as_slice()).expect("the link leads to a trace");
    assert_eq!((linked.name.as_str(), &linked.span_id), ("run final-steps", &child.links[0].span_id));
}
