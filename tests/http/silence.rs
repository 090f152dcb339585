//! A cloud that takes every connection and answers nothing, behind the program as it is run.

use std::time::{Duration, Instant};

use keyferry::worker::{Clock as _, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{
    patience::looks,
    serving::{Serving, serve_before},
};

/// Runs whose first step asks AWS.
const SILENT: usize = 80;

async fn begin(served: &Serving, enterprise: &str, workflow: &str) -> String {
    let new = json!({ "id": enterprise, "name": enterprise, "partition": "aws" });
    served.operator(Method::POST, "/enterprises", "engineer", &new).await;
    let start = json!({ "workflow": workflow });
    let run = served.operator(Method::POST, &format!("/enterprises/{enterprise}/runs"), "engineer", &start).await;
    run["id"].as_str().unwrap().to_owned()
}

async fn until(served: &Serving, run: &str, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in looks() {
        let view = served.run(run).await;
        if holds(&view) {
            return view;
        }
        SystemClock.sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come about: {:#}", served.run(run).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_aws_keeps_a_step_that_needs_none_from_nothing() {
    let cloud = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", cloud.local_addr().unwrap());
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = cloud.accept().await {
            held.push(socket);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let served = serve_before(&url, folder.path(), &[]);
    let mut silent = Vec::new();
    for number in 0..SILENT {
        silent.push(begin(&served, &format!("silent-{number}"), "left-overs").await);
    }
    let begun = Instant::now();
    let free = begin(&served, "free", "put-back").await;
    // Its first step looks at keyferry's own records alone; the one behind it asks AWS like the others.
    let past_it = |view: &Value| {
        let waits = view["waiting_for"].as_array().unwrap().iter().map(|wait| &wait["state"]);
        waits.chain(view["working_in"].as_array().unwrap()).any(|state| state == "List left-overs")
    };
    until(&served, &free, past_it).await;
    eprintln!(
        "beside {SILENT} steps that wait for a silent AWS, a step without AWS was done after {:?}",
        begun.elapsed()
    );
    let metrics = served.metrics().await;
    let executing = metrics.lines().find_map(|line| line.strip_prefix("keyferry_work_executing ")).unwrap();
    assert!(executing.parse::<f64>().unwrap() >= 16.0, "they still wait: {executing}");
    for run in &silent {
        let view = served.run(run).await;
        assert!(matches!(view["status"].as_str(), Some("working" | "waiting")), "{view:#}");
    }
    holding.abort();
}
