//! API keys, one-time links and the packet through the program, against a server with both its listeners.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;

use super::{Server, ask, keyferry, text};

struct Keyferry {
    operators: String,
    customers: String,
    folder: tempfile::TempDir,
    _server: Server,
}

fn start() -> Keyferry {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut child = keyferry(&["serve", "--listen", "127.0.0.1:0", "--customer-listen", "127.0.0.1:0"])
        .args(["--output", "json", "--data-dir", &data.to_string_lossy()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let stdout = child.stdout.take().expect("stdout is piped");
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("one line");
    let said: Value = serde_json::from_str(&line).expect("the line is JSON");
    let address = |name: &str| said[name].as_str().expect("an address").to_owned();
    Keyferry { operators: address("listening"), customers: address("customer"), folder, _server: server }
}

impl Keyferry {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_at(&self.operators, arguments)
    }

    fn run_at(&self, operators: &str, arguments: &[&str]) -> Output {
        keyferry(arguments)
            .env("KEYFERRY_URL", format!("http://{operators}"))
            .env("KEYFERRY_TOKEN_FILE", self.path("data").join("admin-token"))
            .current_dir(self.folder.path())
            .output()
            .expect("the program runs")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn refused(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        serde_json::from_slice(&output.stderr).expect("a problem")
    }
}

/// A way to the operators' API on which as many answers to changes of API keys are lost as `losses` says.
fn lossy(server: &str, losses: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = server.to_owned();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("accepted");
            let (request, mut answer) = (read_request(&mut client), Vec::new());
            let mut upstream = TcpStream::connect(&server).expect("it listens");
            upstream.write_all(&request).expect("sent");
            // The server has done it when it answers.
            upstream.read_to_end(&mut answer).expect("answered");
            let change = request.starts_with(b"POST ") && request.windows(9).any(|part| part == b"/api-keys");
            let lost =
                change && losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if !lost {
                client.write_all(&answer).expect("passed on");
            }
        }
    });
    address
}

/// One request, which says that its connection ends with its answer.
fn read_request(client: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4_096];
        let read = client.read(&mut more).expect("read");
        bytes.extend_from_slice(&more[..read]);
        let text = text(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
            return format!("{head}\r\nconnection: close\r\n\r\n{body}").into_bytes();
        }
    }
}

/// A request with an API key: the answer's status, and its body.
fn call(address: &str, path: &str, key: &str) -> (String, String) {
    let answer = ask(
        address,
        &format!(
            "PUT {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: ApiKey {key}\r\n\
             Content-Length: 0\r\n\r\n"
        ),
    );
    let status = answer.split(' ').nth(1).expect("a status").to_owned();
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (status, body)
}

const REQUEST: &str = "/!/ems/enterprises/dave/cmk/import-key-request";

#[test]
fn a_key_is_made_used_listed_rotated_revoked_and_followed_in_the_trail() {
    let keyferry = start();
    keyferry.json(&["enterprise", "add", "dave"]);
    let create = ["api-key", "create", "dave", "--environment", "test", "--expires-in-days", "30"];
    let made = keyferry.json(&[&create[..], &["--network", "127.0.0.0/8", "--network", "::1"]].concat());
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    assert_eq!((&made["enterprise"], &made["environment"]), (&"dave".into(), &"test".into()));
    assert_eq!(made["networks"], serde_json::json!(["127.0.0.0/8", "::1/128"]));
    assert!(key.starts_with("kf_test_") && made["expires_at"].is_string(), "{made}");
    let (status, body) = call(&keyferry.customers, REQUEST, key);
    assert!(status == "403" && body.contains("wrong-environment"), "{status} {body}");
    let (_, body) = call(&keyferry.customers, &format!("/test{REQUEST}"), key);
    assert!(!body.contains("api-key-") && !body.contains("wrong-environment"), "{body}");
    let shown = keyferry.json(&["api-key", "show", "dave", id]);
    assert_eq!((&shown["state"], &shown["last_use"]["address"]), (&"live".into(), &"127.0.0.1".into()), "{shown}");
    assert!(!shown.to_string().contains(&key[21..]), "the secret is shown once");
    let rotated = keyferry.json(&["api-key", "rotate", "dave", id, "--expires-old-in", "24"]);
    assert_eq!(rotated["replaces"], id);
    let third = keyferry.refused(&create);
    assert_eq!(third["code"], "two-api-keys-live", "{third}");
    let revoked = keyferry.json(&["api-key", "revoke", "dave", id, "--reason", "rotated"]);
    assert_eq!(revoked["revoked"]["reason"], "rotated");
    let (status, body) = call(&keyferry.customers, &format!("/test{REQUEST}"), key);
    assert!(status == "401" && body.contains("api-key-revoked"), "{status} {body}");
    let listed = keyferry.json(&["api-key", "list", "dave"]);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
    let trail = keyferry.json(&["api-key", "trail", "dave"]);
    assert_eq!(trail["items"][0]["outcome"], "api-key-revoked", "the newest comes first: {trail}");
    assert_eq!(trail["items"][2]["outcome"], "wrong-environment", "{trail}");
    assert_eq!(trail["items"][1]["action"], format!("PUT /test{REQUEST}"));
    let told = text(&keyferry.run(&["api-key", "trail", "dave"]).stdout);
    assert!(told.contains(id) && told.contains("127.0.0.1") && !told.contains(&key[21..]), "{told}");
}

#[test]
fn a_key_whose_answer_was_lost_is_replaced_so_that_one_live_key_is_left() {
    let keyferry = start();
    let losses = Arc::new(AtomicUsize::new(0));
    let way = lossy(&keyferry.operators, Arc::clone(&losses));
    let live = |enterprise: &str| -> Vec<Value> {
        let listed = keyferry.json(&["api-key", "list", enterprise]);
        let items = listed["items"].as_array().expect("items").clone();
        items.into_iter().filter(|key| key["state"] == "live").collect()
    };
    // Of the creation; of the answer that it was made before, too; of the revocation, too.
    for lost in 1..=3 {
        let enterprise = format!("dave-{lost}");
        keyferry.json(&["enterprise", "add", &enterprise]);
        losses.store(lost, Ordering::SeqCst);
        let create = ["api-key", "create", &enterprise, "--environment", "production"];
        let made = keyferry.run_at(&way, &create);
        assert!(made.status.success(), "{}", text(&made.stderr));
        assert_eq!(losses.load(Ordering::SeqCst), 0, "the answers were lost");
        let (key, left) = (text(&made.stdout), live(&enterprise));
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(key.contains(left[0]["id"].as_str().expect("an id")), "the live key is the one that was shown");
        let (status, body) = call(&keyferry.customers, &REQUEST.replace("dave", &enterprise), key.trim());
        assert!(status == "409" && body.contains("import-not-open"), "{status} {body}");
        let all = keyferry.json(&["api-key", "list", &enterprise]);
        let revoked: Vec<&Value> =
            all["items"].as_array().expect("items").iter().filter(|key| key["state"] == "revoked").collect();
        assert_eq!(revoked.len(), 1, "{all}");
        assert_eq!(revoked[0]["revoked"]["reason"], "the answer that told it was lost");
        losses.store(1, Ordering::SeqCst);
        let old = left[0]["id"].as_str().expect("an id");
        let rotated = keyferry.run_at(&way, &["api-key", "rotate", &enterprise, old, "--output", "json"]);
        assert!(rotated.status.success(), "{}", text(&rotated.stderr));
        let rotated: Value = serde_json::from_slice(&rotated.stdout).expect("JSON");
        let left: Vec<Value> = live(&enterprise).iter().map(|key| key["id"].clone()).collect();
        assert!(left.len() == 2 && left.contains(&rotated["id"]) && left.contains(&old.into()), "{left:?} {rotated}");
    }
}

#[test]
fn each_listener_serves_its_own_paths_alone() {
    let keyferry = start();
    keyferry.json(&["enterprise", "add", "dave"]);
    let key = keyferry.json(&["api-key", "create", "dave", "--environment", "production"]);
    let key = key["key"].as_str().expect("a key");
    let (status, body) = call(&keyferry.operators, REQUEST, key);
    assert!(status == "404" && body.contains("/openapi.json"), "{status} {body}");
    for path in ["/api/v1/enterprises", "/metrics", "/openapi.json", "/healthz"] {
        let answer = ask(
            &keyferry.customers,
            &format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", keyferry.customers),
        );
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let trail = keyferry.json(&["api-key", "trail", "dave"]);
    assert_eq!(trail["items"].as_array().map(Vec::len), Some(0), "{trail}");
    let (status, _) = call(&keyferry.customers, &REQUEST.replace('!', "%21"), key);
    assert_ne!(status, "401");
    assert_eq!(keyferry.json(&["api-key", "trail", "dave"])["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_packet_is_for_its_owner_alone_and_its_link_gives_a_key_that_works() {
    let keyferry = start();
    keyferry.json(&["enterprise", "add", "dave", "--name", "Dave & Sons"]);
    let said = keyferry.json(&["packet", "dave", "--format", "markdown", "--out", "packet.md"]);
    assert_eq!(said["file"], "packet.md");
    let file = keyferry.path("packet.md");
    assert_eq!(fs::metadata(&file).expect("a packet").permissions().mode() & 0o777, 0o600);
    let packet = fs::read_to_string(&file).expect("a packet");
    let links: Vec<&str> = packet.split("/handover/").skip(1).filter_map(|rest| rest.split('>').next()).collect();
    assert_eq!(links.len(), 2, "{packet}");
    let (id, code) = links[1].split_once('#').expect("a code");
    let form = format!("code={code}");
    let post = format!(
        "POST /handover/{id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let page = ask(&keyferry.customers, &post);
    let start = page.find("kf_live_").expect("the production key");
    let (status, body) = call(&keyferry.customers, REQUEST, &page[start..start + 70]);
    assert_ne!(status, "401", "{body}");
    assert!(ask(&keyferry.customers, &post).starts_with("HTTP/1.1 410"));
    let plain = keyferry.run(&["packet", "dave", "--without-links"]);
    let html = text(&plain.stdout);
    assert!(html.starts_with("<!doctype html>") && html.contains("Dave &amp; Sons"), "{}", text(&plain.stderr));
    assert!(!html.contains("handover") && html.contains("us-west-2"));
    let links = keyferry.json(&["api-key", "link", "dave", "--environment", "test", "--valid-hours", "1"]);
    assert!(links["link"].as_str().is_some_and(|link| link.contains("/handover/") && link.contains('#')), "{links}");
}

#[test]
fn the_packet_names_the_regions_that_were_agreed() {
    let keyferry = start();
    keyferry.json(&["enterprise", "add", "dave"]);
    let view = keyferry.json(&["run", "start", "dave", "--workflow", "customer-managed"]);
    let run = view["id"].as_str().expect("a run");
    let visit = view["waiting_for"][0]["visit"].as_str().expect("it waits");
    let plan = r#"{"primary": "us-west-2", "disaster_recovery": "us-east-1", "aws_account": "123456789012"}"#;
    fs::write(keyferry.path("regions.json"), plan).expect("written");
    keyferry.json(&["run", "answer", run, "regions", "--at", visit, "--data", "regions.json"]);
    let packet = text(&keyferry.run(&["packet", "dave", "--without-links", "--format", "markdown"]).stdout);
    let listed = packet.split("## 3. Regions").nth(1).and_then(|rest| rest.split("## 4").next()).expect("a section");
    let regions: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    assert_eq!(regions, ["`us-west-2`", "`us-east-1`"], "{listed}");
}
