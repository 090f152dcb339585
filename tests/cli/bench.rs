//! `keyferry bench` as a person and as a driver run it, on few runs: that it measures, not what.

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;

use super::{keyferry, run, text};

fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("bench.db").display())
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer} of {value}"))
}

#[test]
fn the_engine_is_measured_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = url(folder.path());
    let arguments = ["--workload", "w1", "--workload", "w4", "--runs", "20", "--repeat", "1", "--output", "json"];
    let output = run(&[&["bench", "engine", "--database", &database], &arguments[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(number(&figures, "/raw_commits_per_s") > 0.0);
    assert!(number(&figures, "/w1/steps_per_s") > 0.0);
    assert!(number(&figures, "/w4/first_recovered_step_s") > 0.0);
    assert!(number(&figures, "/w4/open_when_killed") > 0.0, "the kill came too late: {figures}");
    assert_eq!((number(&figures, "/w4/lost"), number(&figures, "/w4/executed_three_times")), (0.0, 0.0));
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0, "files are left");
}

#[test]
fn a_driver_enqueues_works_and_finds_every_step_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = url(folder.path());
    let log = folder.path().join("steps");
    let drive = |arguments: &[&str]| {
        let mut command = keyferry(&[&["bench", "drive"], arguments].concat());
        let output = command.env("DBURL", &database).env("STEPLOG", &log).output().expect("it runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("one line of JSON")
    };
    assert!(number(&drive(&["enq", "7", "3", "1"]), "/enqueue_s") > 0.0);
    assert!(number(&drive(&["work", "7"]), "/run_s") > 0.0);
    let noted = fs::read_to_string(&log).expect("the log");
    let lines = |kind: &str| noted.lines().filter(|line| line.split(' ').next() == Some(kind)).count();
    assert_eq!((lines("B"), lines("S"), lines("E"), lines("C")), (2, 21, 21, 7));
    assert!(number(&drive(&["w2", "5"]), "/p50_ms") > 0.0);
    assert!(number(&drive(&["w3", "2"]), "/p99_ms") > 0.0);
}

#[test]
fn a_parked_run_does_not_keep_others_from_ending() {
    use std::io::{BufRead as _, BufReader, Write as _};

    let folder = tempfile::tempdir().expect("a folder");
    let mut command = keyferry(&["bench", "drive", "park", "5"]);
    command.env("DBURL", url(folder.path())).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || serde_json::from_str::<Value>(&lines.next().expect("a line").expect("text")).expect("JSON");
    assert_eq!(number(&line(), "/parked"), 5.0);
    writeln!(child.stdin.take().expect("piped"), "3 10").expect("it reads");
    assert!(number(&line(), "/run_s") > 0.0);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_database_of_somebody_else_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("bench.db"), "not a database").expect("a file");
    let output = run(&["bench", "engine", "--database", &url(folder.path()), "--workload", "w2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is there already"), "{}", text(&output.stderr));
    assert_eq!(fs::read(folder.path().join("bench.db")).expect("the file"), b"not a database");
}
