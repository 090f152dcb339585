//! `keyferry workflow`: definitions without a server.

use std::path::Path;

use serde_json::{Value, json};

use super::{run, text};

fn file(folder: &Path, name: &str, content: &Value) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content.to_string()).expect("written");
    path.to_string_lossy().into_owned()
}

fn definition() -> Value {
    json!({
        "StartAt": "Work",
        "States": {
            "Work": {
                "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:work",
                "Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 5, "MaxAttempts": 2, "BackoffRate": 2.0}],
                "Catch": [{"ErrorEquals": ["Broken"], "ResultPath": "$.error", "Next": "GiveUp"}],
                "Next": "Done"
            },
            "GiveUp": {"Type": "Fail", "Error": "GaveUp", "Cause": "it is broken"},
            "Done": {"Type": "Succeed"}
        }
    })
}

fn simulate(script: &Value) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let definition = file(folder.path(), "work.asl.json", &definition());
    let input = file(folder.path(), "in.json", &json!({"n": 1}));
    let script = file(folder.path(), "script.json", script);
    let arguments = ["workflow", "simulate", &definition, "--input", &input, "--script", &script, "--output", "json"];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_simulation_takes_virtual_time_and_says_its_way() {
    let busy = json!({"fail": {"error": "Busy", "cause": "later"}});
    let found = simulate(&json!({"Work": [busy, busy, {"succeed": {"ok": true}}]}));
    assert_eq!(found["status"], "succeeded");
    assert_eq!(found["output"], json!({"ok": true}));
    assert_eq!(found["elapsed_s"], 15);
    assert_eq!(found["trace"], json!(["Work", "Done"]));
    assert_eq!((&found["error"], &found["cause"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_caught_error_fails_and_an_uncaught_one_waits_for_an_engineer() {
    let failed = simulate(&json!({"Work": [{"fail": {"error": "Broken", "cause": "no"}}]}));
    assert_eq!((failed["status"].as_str(), failed["error"].as_str()), (Some("failed"), Some("GaveUp")));
    assert_eq!(failed["trace"], json!(["Work", "GiveUp"]));
    let attention = simulate(&json!({"Work": [{"fail": {"error": "Odd", "cause": "new"}}]}));
    assert_eq!((attention["status"].as_str(), attention["error"].as_str()), (Some("attention"), Some("Odd")));
}

#[test]
fn check_tells_each_problem_with_its_pointer_and_warnings_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = file(folder.path(), "good.asl.json", &definition());
    let fine = run(&["workflow", "check", &good]);
    assert_eq!(fine.status.code(), Some(0), "{}", text(&fine.stderr));
    assert_eq!(text(&fine.stdout).trim(), format!("{good}: ok"));
    assert!(text(&fine.stderr).contains(&format!("warning: {good}#/States/Work/Resource: ")), "{}", text(&fine.stderr));

    let mut broken = definition();
    broken["States"]["Work"]["Next"] = json!("Nowhere");
    let bad = file(folder.path(), "bad.asl.json", &broken);
    let output = run(&["workflow", "check", &good, &bad]);
    assert_eq!(output.status.code(), Some(1));
    let lines = text(&output.stdout);
    assert!(lines.contains(&format!("{good}: ok")), "{lines}");
    assert!(lines.contains(&format!("{bad}#/States/Work/Next: ")), "{lines}");
    let missing = run(&["workflow", "check", "/nonexistent.asl.json"]);
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn check_as_json_keeps_problems_and_warnings_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = file(folder.path(), "good.asl.json", &definition());
    let output = run(&["workflow", "check", &good, "--output", "json"]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["files"][0]["problems"], json!([]));
    assert_eq!(found["files"][0]["warnings"][0]["pointer"], "/States/Work/Resource");
}

#[test]
fn a_simulation_without_input_begins_with_an_empty_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let definition = file(folder.path(), "work.asl.json", &definition());
    let output = run(&["workflow", "simulate", &definition, "--output", "json"]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&found["status"], &found["output"]), (&json!("succeeded"), &json!({})));
}
