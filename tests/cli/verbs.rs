//! What `run show` and refusals print is run as it is printed, against a real server.

use std::path::Path;

use serde_json::json;

use super::{keyferry, text};
use crate::support::serving::{Serving, serve};

/// An enterprise's run that waits for its regions.
async fn waiting(server: &Serving) -> String {
    let dave = json!({ "id": "dave", "name": "Dave", "partition": "aws" });
    server.operator(reqwest::Method::POST, "/enterprises", "engineer", &dave).await;
    let start = json!({ "workflow": "vendor-managed" });
    let run = server.operator(reqwest::Method::POST, "/enterprises/dave/runs", "engineer", &start).await;
    run["id"].as_str().expect("a run").to_owned()
}

/// Runs a line as a shell in `folder` does, with the program under its name.
pub fn shell(server: &Serving, folder: &Path, line: &str) -> std::process::Output {
    let program = keyferry(&[]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!("keyferry() {{ \"$PROGRAM\" \"$@\"; }}; {line}"));
    command.env("PROGRAM", program).envs(server.environment()).current_dir(folder).stdin(std::process::Stdio::null());
    command.output().expect("a shell")
}

/// The commands in what was printed, in order.
fn commands(printed: &str) -> Vec<String> {
    printed.lines().map(str::trim).filter(|line| line.starts_with("keyferry run ")).map(str::to_owned).collect()
}

fn shown(server: &Serving, folder: &Path, run: &str) -> Vec<String> {
    let output = shell(server, folder, &format!("keyferry run show {run}"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    commands(&text(&output.stdout))
}

/// The command for a verb among those that were printed, which succeeds.
fn does(server: &Serving, folder: &Path, printed: &[String], verb: &str) {
    let line = printed.iter().find(|line| line.starts_with(&format!("keyferry run {verb} ")));
    let line = line.unwrap_or_else(|| panic!("no {verb} in {printed:?}"));
    let output = shell(server, folder, line);
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_is_printed_does_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let server = serve(here, None, &[]);
    let run = waiting(&server).await;
    // The words that the commands have in place of a file and a reason are taken as they are.
    let regions = json!({ "primary": "us-west-2", "disaster_recovery": "us-east-1" });
    std::fs::write(here.join("FILE"), regions.to_string()).expect("written");
    let first = shown(&server, here, &run);
    does(&server, here, &first, "pause");
    let paused = shown(&server, here, &run);
    does(&server, here, &paused, "resume");
    let resumed = shown(&server, here, &run);
    does(&server, here, &resumed, "answer");
    server.until(&run, |forms| !forms.contains(&"regions".to_owned())).await;
    // What was seen before is over, and it is said what is there now.
    for (line, code) in [(&resumed[0], "visit-over"), (&first[1], "revision-changed")] {
        let output = shell(&server, here, line);
        assert_eq!(output.status.code(), Some(1), "{line}");
        let said = text(&output.stderr);
        assert!(said.contains(code) && said.contains(&format!("`keyferry run show {run}`")), "{line}: {said}");
    }
    server.until(&run, |forms| forms.contains(&"key-import".to_owned())).await;
    // Without what was seen, and without a terminal, the whole command is said.
    let asked = shell(&server, here, &format!("keyferry run cancel {run} --reason \"it's enough\""));
    assert_eq!(asked.status.code(), Some(2), "{}", text(&asked.stderr));
    let said = commands(&text(&asked.stderr));
    assert_eq!(said.len(), 1, "{}", text(&asked.stderr));
    does(&server, here, &said, "cancel");
    let view = server.run(&run).await;
    assert_eq!((&view["status"], &view["cause"]), (&json!("cancelled"), &json!("it's enough")), "{view}");
    assert!(shown(&server, here, &run).is_empty(), "nothing is left to be done");
}
