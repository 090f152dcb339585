//! The sandbox as a process of its own, judged by boto3 and, where it is right, held against moto.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::required;

/// A listening sandbox; it ends with the value.
struct Sandbox {
    process: Child,
    url: String,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Sandbox {
    fn start(data: &Path, speed: &str) -> Self {
        let mut process = command(data, speed).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = format!("http://{}", said["listening"].as_str().unwrap());
        Self { process, url }
    }

    fn kill(&mut self) {
        // A process that has ended already needs no killing.
        let _: std::io::Result<()> = self.process.kill();
        self.process.wait().unwrap();
    }

    fn python(&self, script: &str, more: &[(&str, &str)]) -> Option<Output> {
        let python = required("KEYFERRY_TEST_PYTHON", "Python with boto3")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox").join(script);
        let mut command = Command::new(python);
        command.arg(script).env("SANDBOX_URL", &self.url).envs(more.iter().copied());
        Some(command.output().unwrap())
    }
}

fn command(data: &Path, speed: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--speed", speed, "--output", "json", "--data"]).arg(data);
    command
}

/// What a script that ended well printed.
fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// The first number that a script printed in its last line.
fn count(said: &str) -> u32 {
    let last = said.lines().last().unwrap_or_default();
    last.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_default()
}

#[test]
fn boto3_finds_kms_and_sts_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&folder.path().join("sandbox.db"), "1");
    if let Some(output) = sandbox.python("boto3_kms.py", &[]) {
        let said = said(&output);
        assert!(count(&said) >= 140, "fewer checks than there were: {said}");
    }
}

#[test]
fn boto3_finds_rds_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&folder.path().join("sandbox.db"), "2000");
    if let Some(output) = sandbox.python("boto3_rds.py", &[]) {
        let said = said(&output);
        assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 8, "{said}");
    }
}

#[test]
fn the_sandbox_agrees_with_moto_where_moto_is_right() {
    let Some(moto) = required("KEYFERRY_TEST_MOTO_URL", "moto") else { return };
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&folder.path().join("sandbox.db"), "5000");
    if let Some(output) = sandbox.python("agreement.py", &[("MOTO_URL", &moto)]) {
        let said = said(&output);
        assert!(count(&said) >= 40, "fewer comparisons than there were: {said}");
    }
}

#[test]
fn a_second_process_on_the_same_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("sandbox.db");
    let mut sandbox = Sandbox::start(&data, "1");
    let refused = command(&data, "1").output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("sandbox.db"), "{message}");
    sandbox.kill();
    drop(Sandbox::start(&data, "1"));
}
