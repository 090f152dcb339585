//! A canary: a key that is looked for, after its import and every mistake with it, wherever something could have been kept.
//!
//! The sandbox is a process of its own here: it is KMS, and has to hold the key.

#![cfg(feature = "failpoints")]

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use futures_util::future::join_all;
use keyferry::{
    keys::import::Algorithm,
    worker::{Clock as _, SystemClock},
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    import::{EAST, WEST, wrap},
    serving::{Serving, sandbox, serve_with},
};

const CMK: &str = "/!/ems/enterprises/dave/cmk";

/// What must not be found, in every form in which it could be kept.
struct Hunt {
    /// What it is, and its bytes.
    forms: Vec<(String, Vec<u8>)>,
    /// The forms by their first four bytes.
    by_start: HashMap<[u8; 4], Vec<usize>>,
    starts: Vec<bool>,
}

fn list(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(between)
}

/// A text's bytes and those of its UTF-16, hex, base64 wherever it may begin in a longer text, and the lists that `Debug` and
/// JSON write.
fn forms(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut forms = vec![
        ("raw".to_owned(), bytes.to_vec()),
        ("hex".to_owned(), hex::encode(bytes).into_bytes()),
        ("HEX".to_owned(), hex::encode_upper(bytes).into_bytes()),
        ("escaped".to_owned(), bytes.escape_ascii().to_string().into_bytes()),
        ("a list".to_owned(), list(bytes, ", ").into_bytes()),
        ("a dense list".to_owned(), list(bytes, ",").into_bytes()),
    ];
    for (name, engine) in [("base64", &STANDARD_NO_PAD), ("base64 for URLs", &URL_SAFE_NO_PAD)] {
        for before in 0..3_usize {
            let text = engine.encode([vec![0; before], bytes.to_vec()].concat());
            // The letters in which nothing but these bytes is.
            let (first, last) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
            forms.push((format!("{name} at {before}"), text.as_bytes()[first..last].to_vec()));
        }
    }
    forms
}

impl Hunt {
    fn new(wanted: &[(&str, &[u8])]) -> Self {
        let mut all = Vec::new();
        for (what, bytes) in wanted {
            assert!(bytes.len() >= 16, "{what} is too short to be told from chance");
            all.extend(forms(bytes).into_iter().map(|(form, bytes)| (format!("{what}, {form}"), bytes)));
        }
        let mut by_start: HashMap<[u8; 4], Vec<usize>> = HashMap::new();
        let mut starts = vec![false; 1 << 16];
        for (number, (_, form)) in all.iter().enumerate() {
            let start: [u8; 4] = form[..4].try_into().unwrap();
            by_start.entry(start).or_default().push(number);
            starts[usize::from(u16::from_le_bytes([start[0], start[1]]))] = true;
        }
        Self { forms: all, by_start, starts }
    }

    /// What is in `place`.
    fn find(&self, place: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for at in 0..place.len().saturating_sub(3) {
            if !self.starts[usize::from(u16::from_le_bytes([place[at], place[at + 1]]))] {
                continue;
            }
            let start = [place[at], place[at + 1], place[at + 2], place[at + 3]];
            for &number in self.by_start.get(&start).into_iter().flatten() {
                let (name, form) = &self.forms[number];
                if place[at..].starts_with(form) && !found.contains(&name.as_str()) {
                    found.push(name.as_str());
                }
            }
        }
        found
    }

    /// Every file below `folder` is without them; how many there are.
    fn is_clean(&self, folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(self.is_clean(&path));
            } else {
                let found = self.find(&fs::read(&path).unwrap());
                assert!(found.is_empty(), "{} holds {found:?}", path.display());
                files.push(path);
            }
        }
        files
    }

    fn is_not_said(&self, what: &str, text: &str) {
        let found = self.find(text.as_bytes());
        assert!(found.is_empty(), "{what} says {found:?}");
    }
}

/// What a process could leave in a core dump: all memory that it can write to. `None` where nobody may look at it.
fn memory(process: u32) -> Option<Vec<Vec<u8>>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
    let mut pieces = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let mut piece = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut piece, from).is_ok() {
            pieces.push(piece);
        }
    }
    Some(pieces)
}

/// The server's memory is without the secrets once its connections have ended; it must hold what is known to be in it.
async fn memory_is_clean(hunt: &Hunt, server: &Serving, known: &Hunt) {
    let mut found = Vec::new();
    for _ in 0..20 {
        let Some(pieces) = memory(server.process()) else {
            assert!(std::env::var_os("CI").is_none(), "the server's memory cannot be read");
            eprintln!("SKIPPED: the server's memory cannot be read, so nothing is looked for in it");
            return;
        };
        assert!(pieces.iter().any(|piece| !known.find(piece).is_empty()), "the search finds nothing that is there");
        found = pieces.iter().flat_map(|piece| hunt.find(piece)).map(str::to_owned).collect();
        if found.is_empty() {
            return;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("the server's memory holds {found:?}");
}

/// A core dump of the server, which ends with it, is without the secrets; it must hold what is known to be in it.
fn core_dump_is_clean(hunt: &Hunt, server: Serving, folder: &Path, known: &Hunt) {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with(['|', '/']) {
        eprintln!("SKIPPED: core dumps go to {}, so the server's memory was searched alone", pattern.trim());
        return;
    }
    server.dump_core();
    let is_core = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("core");
    let cores: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_core).collect();
    let [core] = cores.as_slice() else { panic!("not one core dump: {cores:?}") };
    let core = fs::read(core).unwrap();
    assert!(core.starts_with(b"\x7fELF") && !known.find(&core).is_empty(), "the core dump is not a whole one");
    let found = hunt.find(&core);
    assert!(found.is_empty(), "the core dump of {} bytes holds {found:?}", core.len());
}

/// What the customers' API said, all of it. Each request has a connection of its own, which its client would keep open.
struct Talk<'a> {
    server: &'a Serving,
    key: String,
    said: Mutex<String>,
    clients: Mutex<Vec<Client>>,
}

/// Path below the enterprise's `cmk`, content type, API key, body, and the answer that is wanted.
type Mistake = (String, &'static str, String, String, (u16, &'static str));

impl Talk<'_> {
    async fn say(&self, path: &str, kind: &str, key: &str, body: String) -> (u16, String) {
        let client = Client::new();
        self.clients.lock().unwrap().push(client.clone());
        let method = if path.starts_with("import-key-request") { Method::PUT } else { Method::POST };
        let request = client.request(method, format!("{}{CMK}/{path}", self.server.customer));
        let request = request.header("authorization", format!("ApiKey {key}")).header("content-type", kind);
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers()["connection"], "close", "what was sent leaves memory with its connection");
        let headers = format!("{:?}", response.headers());
        let text = response.text().await.unwrap();
        *self.said.lock().unwrap() += &(headers + &text);
        let body: Value = serde_json::from_str(&text).unwrap();
        (status, body["code"].as_str().or(body["status"].as_str()).unwrap_or_default().to_owned())
    }

    async fn upload(&self, opened: &Value, material: &str) -> (u16, String) {
        let body = json!({ "importToken": opened["importToken"], "keyMaterial": material });
        self.say("import-key", "application/json", &self.key, body.to_string()).await
    }

    /// Sends an upload's body after its head, as some clients do, and keeps the connection.
    async fn say_slowly(&self, body: &str, wanted: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.customer.strip_prefix("http://").unwrap()).await.unwrap();
        let head = format!(
            "POST {CMK}/import-key HTTP/1.1\r\nHost: a\r\nAuthorization: ApiKey {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        SystemClock.sleep(Duration::from_millis(100)).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = vec![0; 8_192];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.contains(wanted), "{answer}");
        *self.said.lock().unwrap() += &answer;
        stream
    }

    /// Sends all of them at once, so that none lies where another was, and the server's memory with all of them is clean.
    async fn err(&self, mistakes: Vec<Mistake>) {
        let sent = mistakes.into_iter().map(|(path, kind, key, body, wanted)| async move {
            let (status, code) = self.say(&path, kind, &key, body).await;
            assert_eq!((status, code.as_str()), wanted, "{path} as {kind}");
        });
        join_all(sent).await;
    }
}

fn wrapped(opened: &Value, algorithm: Algorithm, key: &[u8]) -> String {
    BASE64.encode(wrap(opened["publicKey"].as_str().unwrap(), algorithm, key))
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A key sent as it is, in every way in which that happens.
fn mistakes(api_key: &str, opened: &Value, key: &[u8]) -> Vec<Mistake> {
    let (json, token) = ("application/json", opened["importToken"].as_str().unwrap());
    let mut mistakes = Vec::new();
    let mut mistake = |path: &str, kind, api_key: &str, body: String, wanted| {
        mistakes.push((path.to_owned(), kind, api_key.to_owned(), body, wanted));
    };
    for plain in [BASE64.encode(key), URL_SAFE_NO_PAD.encode(key), hex::encode(key), hex::encode_upper(key)] {
        let body = json!({ "importToken": token, "keyMaterial": plain }).to_string();
        mistake("import-key", json, api_key, body.clone(), (422, "key-material-not-wrapped"));
        mistake("import-key", json, "kf_live_mistyped", body.clone(), (401, "api-key-mistyped"));
        mistake("import-keys", json, api_key, body, (404, "not-found"));
        let cut = format!(r#"{{"importToken":"{token}","keyMaterial":"{plain}"#);
        mistake("import-key", json, api_key, cut, (400, "json-truncated"));
        let as_token = json!({ "importToken": plain, "keyMaterial": BASE64.encode([1; 256]) }).to_string();
        mistake("import-key", json, api_key, as_token, (422, "import-token-unknown"));
        mistake("import-key", "application/octet-stream", api_key, plain.clone(), (415, "content-type-wrong"));
        mistake("import-key-request", "text/plain", api_key, plain, (400, "request-body-not-empty"));
    }
    let in_query = format!("import-key-request?keyMaterial={}", hex::encode(key));
    mistake(&in_query, "text/plain", api_key, String::new(), (400, "invalid-query"));
    let list = json!({ "importToken": token, "keyMaterial": { "type": "Buffer", "data": key } }).to_string();
    mistake("import-key", json, api_key, list, (422, "key-material-not-wrapped"));
    mistakes
}

/// Bytes of chance that no base64 would be told from if it began with zeros.
fn chance() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_what_opens_the_api_are_found_nowhere() {
    let (folder, cloud) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = sandbox(&cloud.path().join("kms.db"), "60");
    let planted = hex::encode(chance());
    let known = Hunt::new(&[("what is known", planted.as_bytes())]);
    // The second upload that KMS takes finds its task dead.
    let variables =
        [("RUST_LOG", "trace"), ("KEYFERRY_FAILPOINT", "import::after_relay:2=panic"), ("KNOWN", planted.as_str())];
    let server = serve_with(folder.path(), &["--sandbox-url", &kms.url, "--speed", "60"], &variables);
    let run = server.waiting("dave").await;
    let key = server.api_key("dave", "production").await;
    let link = server.command(&["api-key", "link", "dave", "--environment", "test"]);
    let (link, code) =
        link["link"].as_str().unwrap().rsplit_once('#').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let id = link.rsplit('/').next().unwrap();
    let burn = server.customer(Method::POST, &format!("/handover/{id}"), &key);
    let burn = burn.header("content-type", "application/x-www-form-urlencoded").body(format!("code={code}"));
    let page = burn.send().await.unwrap().text().await.unwrap();
    let handed = page.find("kf_test_").map(|at| page[at..at + 70].to_owned()).unwrap();

    let canary = chance();
    // An API key's id stands in the trail; its secret must not.
    let secrets: [(&str, &[u8]); 4] = [
        ("the key", &canary),
        ("an API key", &key.as_bytes()[21..]),
        ("an API key that was handed over", &handed.as_bytes()[21..]),
        ("a link's code", code.as_bytes()),
    ];
    let hunt = Hunt::new(&secrets);
    let only_key = Hunt::new(&secrets[..1]);
    let talk = Talk { server: &server, key: key.clone(), said: Mutex::default(), clients: Mutex::default() };

    // Refused by KMS; then taken by KMS, with a panic before that is written down; then asked again.
    let west = server.ask(&talk.key, &format!("?region={WEST}&wrappingKeySpec=RSA_2048")).await;
    let sha256 = wrapped(&west, Algorithm::OaepSha256, &canary);
    assert_eq!(talk.upload(&west, &sha256).await, is(422, "key-material-refused"));
    let good = wrapped(&west, Algorithm::OaepSha1, &canary);
    assert_eq!(talk.upload(&west, &good).await, is(503, "kms-unavailable"));
    assert_eq!(talk.upload(&west, &good).await, is(200, "imported"));
    memory_is_clean(&only_key, &server, &known).await;

    let east = server.ask(&talk.key, &format!("?region={EAST}&wrappingKeySpec=RSA_2048")).await;
    talk.err(mistakes(&talk.key, &east, &canary)).await;
    let plain = json!({ "importToken": east["importToken"], "keyMaterial": hex::encode(canary) }).to_string();
    let slow = talk.say_slowly(&plain, "key-material-not-wrapped").await;
    let token = json!({ "importToken": hex::encode(canary), "keyMaterial": BASE64.encode([1; 256]) }).to_string();
    let slower = talk.say_slowly(&token, "import-token-unknown").await;
    memory_is_clean(&only_key, &server, &known).await;
    drop((slow, slower));
    let good = wrapped(&east, Algorithm::OaepSha1, &canary);
    assert_eq!(talk.upload(&east, &good).await, is(200, "imported"));
    server.until(&run, |forms| !forms.contains(&"key-import".to_owned())).await;

    hunt.is_not_said("the customers' API", &talk.said.lock().unwrap());
    drop(talk);
    hunt.is_not_said("/metrics", &server.metrics().await);
    for path in [format!("/runs/{run}"), format!("/runs/{run}/history?limit=200")] {
        let told = server.operator(Method::GET, &path, "engineer", &Value::Null).await;
        hunt.is_not_said(&path, &told.to_string());
    }
    for what in [&["api-key", "trail", "dave", "--limit", "200"][..], &["api-key", "list", "dave"]] {
        let told = server.command(what);
        assert!(!told["items"].as_array().unwrap().is_empty(), "{what:?} tells nothing");
        hunt.is_not_said(&what.join(" "), &told.to_string());
    }
    let files = hunt.is_clean(folder.path());
    for wanted in ["keyferry.db", "keyferry.db-wal", "stderr.log", "mail"] {
        let there = files.iter().any(|file| file.components().any(|part| part.as_os_str() == wanted));
        assert!(there, "{wanted} was not looked at: {files:?}");
    }
    let log = fs::read_to_string(folder.path().join("stderr.log")).unwrap();
    assert!(log.contains("TRACE") && log.contains("an upload was cut off"), "the log is not the one that was wanted");
    core_dump_is_clean(&hunt, server, folder.path(), &known);

    guards(&hunt, &folder, &secrets);
    // KMS has it: the search would have found it here in whatever form a database may keep it.
    assert!(
        !only_key.find(&fs::read(cloud.path().join("kms.db-wal")).unwrap_or_default()).is_empty()
            || !only_key.find(&fs::read(cloud.path().join("kms.db")).unwrap()).is_empty()
    );
}

/// What is planted is found, in every form.
fn guards(hunt: &Hunt, folder: &tempfile::TempDir, secrets: &[(&str, &[u8])]) {
    let file = folder.path().join("planted");
    for (what, bytes) in secrets {
        for before in 0..3 {
            let text = [vec![b'x'; before], bytes.to_vec(), b"tail".to_vec()].concat();
            for (form, planted) in [
                ("raw", text.clone()),
                ("hex", hex::encode(&text).into_bytes()),
                ("HEX", hex::encode_upper(&text).into_bytes()),
                ("base64", BASE64.encode(&text).into_bytes()),
                ("base64 for URLs", URL_SAFE_NO_PAD.encode(&text).into_bytes()),
                ("Debug", format!("{text:?}").into_bytes()),
            ] {
                fs::write(&file, [b"before ".to_vec(), planted, b" after".to_vec()].concat()).unwrap();
                let found = hunt.find(&fs::read(&file).unwrap());
                assert!(found.iter().any(|name| name.starts_with(what)), "{what} as {form} at {before} is not found");
            }
        }
    }
    fs::remove_file(file).unwrap();
}
