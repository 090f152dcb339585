//! The program, serving, as its operators and its customers meet it: a real process, real sockets.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use keyferry::worker::{Clock as _, SystemClock};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{
    import::{EAST, WEST},
    patience::looks,
};
use crate::cli::keyferry;

const CMK: &str = "/!/ems/enterprises/dave/cmk";

/// The program, serving; it is killed with the value.
pub struct Serving {
    child: Child,
    pub api: String,
    pub customer: String,
    /// Where its sandbox listens, if it was told to.
    pub sandbox: Option<String>,
    token: String,
    client: Client,
    folder: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that has died already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves from `folder`, with these arguments too; what it logs is in `stderr.log` there.
pub fn serve(folder: &Path, failpoint: Option<&str>, arguments: &[&str]) -> Serving {
    let variables: Vec<(&str, &str)> =
        failpoint.map(|failpoint| ("KEYFERRY_FAILPOINT", failpoint)).into_iter().collect();
    serve_with(folder, arguments, &variables)
}

/// The same with variables of its own.
pub fn serve_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Serving {
    serve_at(folder, "127.0.0.1:0", arguments, variables)
}

/// The same, with a cloud of others behind the SDK, at `cloud`.
pub fn serve_before(cloud: &str, folder: &Path, variables: &[(&str, &str)]) -> Serving {
    let aws = [
        ("AWS_ENDPOINT_URL", cloud),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", WEST),
    ];
    serve_with(folder, &["--aws", "live"], &[&aws, variables].concat())
}

/// The same, with the customers' API at an address that customers know already.
pub fn serve_at(folder: &Path, customer: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Serving {
    let data = folder.to_str().unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--customer-listen", customer];
    let mut command = keyferry(&["serve", "--output", "json", "--data-dir", data]);
    // A core dump lands in the working directory.
    command.args(listen).args(arguments).envs(variables.iter().copied()).current_dir(folder);
    command.stdout(Stdio::piped()).stderr(std::fs::File::create(folder.join("stderr.log")).unwrap());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
        panic!("it said {line:?}: {}", std::fs::read_to_string(folder.join("stderr.log")).unwrap_or_default())
    });
    let address = |member: &str| said[member].as_str().map(|address| format!("http://{address}"));
    Serving {
        api: address("listening").unwrap(),
        customer: address("customer").unwrap(),
        sandbox: address("sandbox"),
        token: std::fs::read_to_string(folder.join("admin-token")).unwrap().trim().to_owned(),
        client: Client::new(),
        folder: folder.to_owned(),
        child,
    }
}

/// A letter of the folder that the program writes to.
#[derive(Debug, Clone)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
}

fn letter(file: &Path) -> Letter {
    let message = std::fs::read_to_string(file).unwrap();
    let (head, text) = message.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ");
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {head}")).trim().to_owned()
    };
    // Long lines were broken for the way.
    Letter { to: header("To:"), subject: header("Subject:"), text: text.replace("=\r\n", "") }
}

/// `keyferry sandbox`, as a process of its own; it is killed with the value.
pub struct Elsewhere {
    child: Child,
    pub url: String,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // One that has died already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cloud that keeps its state in `data`.
pub fn sandbox(data: &Path, speed: &str) -> Elsewhere {
    let mut command = keyferry(&["sandbox", "--listen", "127.0.0.1:0", "--speed", speed, "--output", "json", "--data"]);
    let mut child = command.arg(data).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}", said["listening"].as_str().unwrap());
    Elsewhere { child, url }
}

impl Serving {
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has died by itself.
    pub async fn died(&mut self) {
        for _ in looks() {
            if self.child.try_wait().unwrap().is_some() {
                return;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("it did not die");
    }

    /// What was sent to an address so far.
    pub fn letters(&self, to: &str) -> Vec<Letter> {
        let Ok(folder) = std::fs::read_dir(self.folder.join("mail")) else { return Vec::new() };
        let files =
            folder.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "eml"));
        files.map(|file| letter(&file)).filter(|letter| letter.to == to).collect()
    }

    /// The letter to an address whose subject holds these words, once there is one.
    pub async fn told(&self, to: &str, subject: &str) -> Letter {
        for _ in looks() {
            let mut found = self.letters(to);
            found.retain(|letter| letter.subject.contains(subject));
            assert!(found.len() < 2, "{to} was told twice: {found:#?}");
            if let Some(letter) = found.pop() {
                return letter;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("{to} is not told that {subject}: {:#?}", self.letters(to));
    }

    /// Ends the process and has the kernel write its core dump into the folder that it serves from.
    pub fn dump_core(mut self) {
        let process = self.process().to_string();
        for command in [&["prlimit", "--core=unlimited:unlimited", "--pid", &process][..], &["kill", "-ABRT", &process]]
        {
            let done = Command::new(command[0]).args(&command[1..]).status().unwrap();
            assert!(done.success(), "{command:?}");
        }
        let status = self.child.wait().unwrap();
        assert!(status.core_dumped(), "no core dump was written: {status}");
    }

    pub async fn operator(&self, method: Method, path: &str, role: &str, body: &Value) -> Value {
        let (status, body) = self.answered(method, path, role, body).await;
        assert!(status.is_success(), "{path}: {body}");
        body
    }

    /// An engineer's request that is not granted: the problem document.
    pub async fn refused(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, body) = self.answered(method, path, "engineer", body).await;
        assert!(status.is_client_error(), "{path}: {body}");
        body
    }

    async fn answered(&self, method: Method, path: &str, role: &str, body: &Value) -> (StatusCode, Value) {
        let request =
            self.client.request(method.clone(), format!("{}/api/v1{path}", self.api)).bearer_auth(&self.token);
        let request = request.header("keyferry-actor", role);
        let request = if method == Method::GET { request } else { request.json(body) };
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// An engineer's change under an idempotency key.
    pub fn under_key(&self, key: &str, path: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("{}/api/v1{path}", self.api)).bearer_auth(&self.token);
        request.header("idempotency-key", key).json(body)
    }

    pub async fn metrics(&self) -> String {
        let request = self.client.get(format!("{}/metrics", self.api)).bearer_auth(&self.token);
        request.send().await.unwrap().text().await.unwrap()
    }

    /// What a command needs to find this server.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("KEYFERRY_URL", self.api.clone()), ("KEYFERRY_TOKEN", self.token.clone())]
    }

    /// A command of an operator, which has to succeed; what it printed as JSON.
    pub fn command(&self, arguments: &[&str]) -> Value {
        let output: Output = keyferry(arguments)
            .args(["--output", "json"])
            .env("KEYFERRY_URL", &self.api)
            .env("KEYFERRY_TOKEN", &self.token)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A vendor-managed run of an enterprise, which is added, that waits for its keys.
    pub async fn waiting(&self, enterprise: &str) -> String {
        let email = format!("{enterprise}@example.com");
        let new = json!({ "id": enterprise, "name": enterprise, "partition": "aws", "customer_email": email });
        self.operator(Method::POST, "/enterprises", "engineer", &new).await;
        let start = json!({ "workflow": "vendor-managed" });
        let run = self.operator(Method::POST, &format!("/enterprises/{enterprise}/runs"), "engineer", &start).await;
        let run = run["id"].as_str().unwrap().to_owned();
        let regions = json!({ "primary": WEST, "disaster_recovery": EAST });
        let visit = self.run(&run).await["waiting_for"][0]["visit"].clone();
        let body = json!({ "visit": visit, "answer": regions });
        self.operator(Method::POST, &format!("/runs/{run}/forms/regions"), "engineer", &body).await;
        self.without_rds(&run).await;
        self.until(&run, |forms| forms.contains(&"key-import".to_owned())).await;
        run
    }

    /// Where the cloud is another's emulator that has not all of RDS, nobody can look at the systems that there are: an
    /// engineer says that there are none.
    async fn without_rds(&self, run: &str) {
        for _ in looks() {
            let view = self.run(run).await;
            let stands = &view["attention"][0];
            if stands["cause"].as_str().is_some_and(|cause| cause.contains("Unknown RDS action")) {
                assert_eq!(stands["state"], "Review regions", "{view:#}");
                let output =
                    json!({ "verdict": "passed", "findings": [], "instances": { "production": [WEST, EAST] } });
                let body =
                    json!({ "visit": stands["visit"], "output": output, "reason": "the emulator has no systems" });
                self.operator(Method::POST, &format!("/runs/{run}/skip"), "engineer", &body).await;
                return;
            }
            assert_ne!(view["status"], "attention", "{view:#}");
            if view["waiting_for"].as_array().unwrap().iter().any(|wait| wait["form"] == "key-import") {
                return;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("the regions are not reviewed");
    }

    pub async fn until(&self, run: &str, holds: impl Fn(&[String]) -> bool) {
        for _ in looks() {
            let view = self.run(run).await;
            let waits = view["waiting_for"].as_array().unwrap();
            let forms: Vec<String> = waits.iter().filter_map(|wait| wait["form"].as_str().map(str::to_owned)).collect();
            if holds(&forms) {
                return;
            }
            assert_ne!(view["status"], "attention", "{view:#}");
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("the run does not come to that");
    }

    pub async fn run(&self, run: &str) -> Value {
        self.operator(Method::GET, &format!("/runs/{run}"), "engineer", &Value::Null).await
    }

    /// The open run of a workflow that an enterprise has, once it waits for its keys.
    pub async fn asking(&self, enterprise: &str, workflow: &str) -> String {
        let path = format!("/runs?enterprise={enterprise}&workflow={workflow}");
        for _ in looks() {
            let page = self.operator(Method::GET, &path, "engineer", &Value::Null).await;
            let runs = page["items"].as_array().unwrap();
            let asking =
                |run: &&Value| run["waiting_for"].as_array().unwrap().iter().any(|wait| wait["form"] == "key-import");
            if let Some(run) = runs.iter().find(asking) {
                return run["id"].as_str().unwrap().to_owned();
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("no {workflow} of {enterprise} waits for its keys");
    }

    /// A run once it has ended, and how it should.
    pub async fn succeeded(&self, run: &str) -> Value {
        for _ in looks() {
            let view = self.run(run).await;
            if !view["ended_at"].is_null() {
                assert_eq!(view["status"], "succeeded", "{view:#}");
                return view;
            }
            assert_ne!(view["status"], "attention", "{view:#}");
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        panic!("the run does not end: {:#}", self.run(run).await);
    }

    pub async fn api_key(&self, enterprise: &str, environment: &str) -> String {
        let body = json!({ "environment": environment });
        let path = format!("/enterprises/{enterprise}/api-keys");
        let made = self.operator(Method::POST, &path, "engineer", &body).await;
        made["key"].as_str().unwrap().to_owned()
    }

    /// A call of dave's.
    pub fn customer(&self, method: Method, path: &str, key: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.customer));
        request.header("authorization", format!("ApiKey {key}"))
    }

    /// An import request of dave's that succeeds.
    pub async fn ask(&self, key: &str, query: &str) -> Value {
        let response =
            self.customer(Method::PUT, &format!("{CMK}/import-key-request{query}"), key).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }
}
