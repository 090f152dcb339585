//! The program as a person runs it: real processes, real sockets.

mod bench;
mod customers;
mod files;
mod fleet;
mod over_http;
pub mod verbs;
mod workflow;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
};

/// The program, with none of the caller's settings. `KEYFERRY_TEST_PROGRAM` names another one than cargo has built for the tests: a
/// release build, for long runs.
pub fn keyferry(arguments: &[&str]) -> Command {
    let built = || env!("CARGO_BIN_EXE_keyferry").into();
    let mut command = Command::new(std::env::var_os("KEYFERRY_TEST_PROGRAM").unwrap_or_else(built));
    for (name, _) in std::env::vars_os() {
        if ["KEYFERRY_", "OTEL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    keyferry(arguments).output().expect("the program runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that is killed with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // A process that has ended already cannot be killed, and needs not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Sends SIGTERM and gives the exit code.
    fn terminate(&mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
        self.0.wait().expect("it ends").code()
    }
}

/// What the process says first on standard output.
fn first_line(child: &mut Child) -> serde_json::Value {
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("one line");
    serde_json::from_str(&line).expect("the line is JSON")
}

pub fn listening(child: &mut Child) -> String {
    first_line(child)["listening"].as_str().expect("an address").to_owned()
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn wrong_usage_is_exit_code_two_and_says_so_on_standard_error() {
    let output = run(&["run", "explode"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("explode"), "{}", text(&output.stderr));
    let no_token = run(&["run", "list"]);
    assert_eq!(no_token.status.code(), Some(2));
    assert!(text(&no_token.stderr).contains("KEYFERRY_TOKEN"), "{}", text(&no_token.stderr));
}

#[test]
fn help_and_version_are_data() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for noun in ["enterprise", "run", "audit", "serve", "worker", "sandbox"] {
        assert!(text(&help.stdout).contains(noun), "{noun}");
    }
    assert!(text(&run(&["--version"]).stdout).starts_with("keyferry "));
}

#[test]
fn an_unreachable_server_is_a_failure_that_names_it() {
    let output = keyferry(&["--output", "json", "enterprise", "list", "--url", "http://127.0.0.1:9"])
        .env("KEYFERRY_TOKEN", "kfa_test")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let said: serde_json::Value = serde_json::from_slice(&output.stderr).expect("the failure is JSON");
    assert!(said["detail"].as_str().expect("a detail").contains("http://127.0.0.1:9"), "{said}");
    assert!(!text(&output.stderr).contains("kfa_test"), "the token is never printed");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_with_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.toml");
    std::fs::write(&file, "[sandbox]\nspeed = 0.0\n").expect("written");
    let output = run(&["sandbox", "--listen", "127.0.0.1:0", "--config", &file.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("sandbox.speed"), "{}", text(&output.stderr));
}

#[test]
fn the_sandbox_listens_on_a_free_port_and_ends_at_sigterm() {
    let mut child = keyferry(&["sandbox", "--listen", "127.0.0.1:0", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let address = listening(&mut child);
    let mut server = Server(child);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260302/us-west-2/sts/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 43\r\n\r\n\
         Action=GetCallerIdentity&Version=2011-06-15"
    );
    let answer = ask(&address, &request);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("<Account>127450652264</Account>"), "{answer}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn health_and_metrics_are_told_on_an_address_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command =
        keyferry(&["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--output", "json"]);
    command.arg("--data-dir").arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("one line");
    let mut server = Server(child);
    let said: serde_json::Value = serde_json::from_str(&line).expect("the line is JSON");
    let address = said["metrics"].as_str().expect("an address");
    let get =
        |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    assert!(get("/metrics").contains("keyferry_store_writable 1"));
    assert!(get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(get("/api/v1/runs").starts_with("HTTP/1.1 404"));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_server_writes_its_token_once_and_ends_in_order_at_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let token_file = data.join("admin-token");
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let mut child =
            keyferry(&["serve", "--listen", "127.0.0.1:0", "--output", "json", "--data-dir", &data.to_string_lossy()])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program runs");
        let address = listening(&mut child);
        let mut server = Server(child);
        let answer = ask(&address, &format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mode = std::fs::metadata(&token_file).expect("a token").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        tokens.push(std::fs::read_to_string(&token_file).expect("a token"));
        let listed = run(&[
            "run",
            "show",
            "none",
            "--url",
            &format!("http://{address}"),
            "--token-file",
            &token_file.to_string_lossy(),
        ]);
        assert_eq!(listed.status.code(), Some(1), "there is no such run");
        assert_eq!(server.terminate(), Some(0));
    }
    assert_eq!(tokens[0], tokens[1]);
}

#[test]
fn a_database_that_is_not_supported_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = keyferry(&["serve", "--database", "mysql://user:sesame@host/db"])
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("postgres://") && !said.contains("sesame"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
