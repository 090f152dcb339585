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

    fn python(&self, script: &str, arguments: &[&str], more: &[(&str, &str)]) -> Option<Output> {
        let python = required("KEYFERRY_TEST_PYTHON", "Python with boto3")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox").join(script);
        let mut command = Command::new(python);
        // Nothing is written beside the scripts.
        command.arg("-B").arg(script).args(arguments).env("SANDBOX_URL", &self.url).envs(more.iter().copied());
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

/// Asks the checks of some modules of a sandbox of their own, as many of them as there are at least.
fn asked(modules: &[&str], at_least: u32) {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&folder.path().join("sandbox.db"), "600");
    if let Some(output) = sandbox.python("checks/run.py", modules, &[("STRICT", "1")]) {
        let said = said(&output);
        assert!(count(&said) >= at_least, "fewer checks than there were: {said}");
    }
}

// How many checks the modules hold: a check that goes missing fails the suite.
const KMS_KEYS: u32 = 260;
const KMS_CRYPTO: u32 = 227;
const RDS_INSTANCES: u32 = 201;
const RDS_SNAPSHOTS: u32 = 195;

#[test]
fn boto3_finds_keys_their_policies_and_sessions_as_documented() {
    asked(&["kms_keys", "kms_access", "sts"], KMS_KEYS);
}

#[test]
fn boto3_finds_cryptography_and_imported_material_as_documented() {
    asked(&["kms_crypto", "kms_import"], KMS_CRYPTO);
}

#[test]
fn boto3_finds_instances_and_the_account_as_documented() {
    asked(&["rds_instances", "rds_account"], RDS_INSTANCES);
}

#[test]
fn boto3_finds_snapshots_clusters_and_deployments_as_documented() {
    asked(&["rds_snapshots", "rds_clusters"], RDS_SNAPSHOTS);
}

#[test]
fn every_module_of_checks_is_asked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox/checks");
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".py").map(str::to_owned))
        .filter(|name| !["frame", "run"].contains(&name.as_str()))
        .collect();
    there.sort();
    let own = include_str!("mod.rs");
    let missing: Vec<&String> = there.iter().filter(|name| !own.contains(&format!("\"{name}\""))).collect();
    assert!(there.len() >= 9 && missing.is_empty(), "not asked: {missing:?}");
}

/// The calls before a kill are there after it: the resources as boto3 sees them, and the ledger.
#[test]
fn a_killed_sandbox_has_everything_that_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("sandbox.db");
    let sandbox = Sandbox::start(&data, "600");
    let Some(before) = sandbox.python("survival.py", &["make"], &[]) else { return };
    let before = said(&before);
    drop(sandbox);
    let sandbox = Sandbox::start(&data, "600");
    let after = said(&sandbox.python("survival.py", &["look"], &[]).unwrap());
    assert_eq!(before, after);
    assert!(count(&after) >= 20, "fewer calls than there were: {after}");
}

#[test]
fn the_sandbox_agrees_with_moto_where_moto_is_right() {
    let Some(moto) = required("KEYFERRY_TEST_MOTO_URL", "moto") else { return };
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&folder.path().join("sandbox.db"), "5000");
    if let Some(output) = sandbox.python("agreement.py", &[], &[("MOTO_URL", &moto)]) {
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
