//! The packet's scripts, as customers get them, each in its own language against a server that holds the private keys.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use keyferry::{
    config::Config,
    http::{Limits, serve},
    packet::{SCRIPTS, Script, tailored},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::support::required;

const API_KEY: &str = "kf_test_abcdefghijkl_0123456789012345678901234567890123456789012AAAAAA";
const PASSPHRASE: &str = "correct horse; $battery 'staple'";

/// The customers' API, as far as the scripts see it.
struct Vendor {
    address: String,
    state: Arc<Mutex<Imports>>,
    _stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Imports {
    waiting: Vec<String>,
    /// How many regions an import request opens.
    at_once: usize,
    /// By import token: region and algorithm, with the private key.
    open: BTreeMap<String, (String, String, Option<PrivateDecryptingKey>)>,
    imported: BTreeMap<String, Vec<u8>>,
    /// Uploads that fail: with this status, before anything is taken.
    failing: Vec<u16>,
    uploads: usize,
}

async fn vendor(regions: &[&str], at_once: usize) -> Vendor {
    let waiting = regions.iter().map(|&region| region.to_owned()).collect();
    let state = Arc::new(Mutex::new(Imports { waiting, at_once, ..Imports::default() }));
    let cmk = Router::new()
        .route("/import-key-request", put(request_import))
        .route("/import-key", post(import_key))
        .with_state(Arc::clone(&state));
    let router = Router::new().nest("/test/!/ems/enterprises/dave/cmk", cmk);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let (stop, shutdown) = watch::channel(false);
    tokio::spawn(serve(listener, router, Limits::default(), shutdown));
    Vendor { address, state, _stop: stop }
}

fn problem(status: u16, code: &str) -> Response {
    let body = json!({ "code": code, "detail": "as the test wants it" });
    (StatusCode::from_u16(status).expect("a status"), Json(body)).into_response()
}

fn authorized(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value.as_bytes() == format!("ApiKey {API_KEY}").as_bytes())
}

async fn request_import(
    State(state): State<Arc<Mutex<Imports>>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if !authorized(&headers) || !body.is_empty() {
        return problem(401, "api-key-unknown");
    }
    let mut state = state.lock().expect("no panic held it");
    if state.waiting.is_empty() {
        return problem(409, "import-complete");
    }
    let wanted = state.waiting.iter().filter(|region| query.get("region").is_none_or(|asked| asked == *region));
    let wanted: Vec<String> = wanted.take(state.at_once).cloned().collect();
    let algorithm = query["wrappingAlgorithm"].clone();
    let mut targets = Vec::new();
    for region in wanted {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().expect("DER");
        let public = pem::encode(&pem::Pem::new("PUBLIC KEY", der.as_ref()));
        let token = format!("token-{}-{region}", state.open.len());
        state.open.insert(token.clone(), (region.clone(), algorithm.clone(), Some(private)));
        targets.push(json!({ "region": region, "publicKey": public, "importToken": token, "algorithm": algorithm }));
    }
    Json(json!({ "targets": targets, "remaining": state.waiting })).into_response()
}

async fn import_key(State(state): State<Arc<Mutex<Imports>>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if !authorized(&headers) {
        return problem(401, "api-key-unknown");
    }
    let mut state = state.lock().expect("no panic held it");
    state.uploads += 1;
    if let Some(status) = state.failing.pop() {
        return problem(status, "failing");
    }
    let mut results = Vec::new();
    for part in body["targets"].as_array().expect("targets") {
        let token = part["importToken"].as_str().expect("a token");
        let (region, algorithm, private) = state.open.get_mut(token).expect("an open token");
        assert_eq!(part["region"], *region);
        let private = OaepPrivateDecryptingKey::new(private.take().expect("used once")).expect("a key");
        let wrapped = BASE64_STANDARD.decode(part["keyMaterial"].as_str().expect("material")).expect("base64");
        let scheme = match algorithm.as_str() {
            "RSAES_OAEP_SHA_1" => &OAEP_SHA1_MGF1SHA1,
            "RSAES_OAEP_SHA_256" => &OAEP_SHA256_MGF1SHA256,
            other => panic!("the script asked for {other}"),
        };
        let mut buffer = vec![0; private.min_output_size()];
        let bytes = private.decrypt(scheme, &wrapped, &mut buffer, None).expect("wrapped under this key").to_vec();
        let region = region.clone();
        results.push(json!({
            "region": region, "id": format!("i-{region}"), "keyId": format!("arn-{region}"),
            "keyMaterialId": format!("m-{region}"), "status": "imported",
        }));
        state.waiting.retain(|waiting| *waiting != region);
        state.imported.insert(region, bytes);
    }
    Json(json!({ "status": "imported", "results": results, "remaining": state.waiting })).into_response()
}

/// A customer's folder with one script in it.
struct Customer {
    folder: tempfile::TempDir,
    script: &'static Script,
    interpreter: String,
}

/// `None` where the tools for a script are missing outside of CI.
fn customer(script: &'static Script, vendor: &Vendor) -> Option<Customer> {
    let interpreter = match script.language {
        "bash" => {
            required("KEYFERRY_TEST_JQ", "jq for the script in bash")?;
            "bash".to_owned()
        }
        "js" => required("KEYFERRY_TEST_NODE", "Node.js")?,
        "python" => required("KEYFERRY_TEST_PYTHON", "Python with cryptography and requests")?,
        other => panic!("no interpreter for {other}"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.customer.test_public_url = format!("{}/test", vendor.address);
    fs::write(folder.path().join(script.file), tailored(script, &config, "dave")).expect("written");
    fs::write(folder.path().join("api-key.txt"), format!("{API_KEY}\n")).expect("written");
    fs::write(folder.path().join("passphrase.txt"), format!("{PASSPHRASE}\n")).expect("written");
    Some(Customer { folder, script, interpreter })
}

impl Customer {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn run(&self, settings: &[(&str, &str)]) -> Output {
        let mut command = Command::new(&self.interpreter);
        command
            .args([self.script.file, "test"])
            .current_dir(self.folder.path())
            .env("API_KEY_FILE", "api-key.txt")
            .env("BACKUP_PASSPHRASE_FILE", "passphrase.txt")
            .envs(settings.iter().copied())
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().expect("the script runs")).await.expect("no panic")
    }

    async fn succeeds(&self, settings: &[(&str, &str)]) -> Vec<Value> {
        let output = self.run(settings).await;
        let file = self.script.file;
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("a receipt is JSON")).collect()
    }

    async fn fails(&self, settings: &[(&str, &str)]) -> String {
        let output = self.run(settings).await;
        assert_eq!(output.status.code(), Some(1), "{}", self.script.file);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// What a backup holds, as the command in the script's head says that it can be read.
fn restored(backup: &Path) -> Vec<u8> {
    let output = Command::new("openssl")
        .args([
            "enc",
            "-d",
            "-aes-256-cbc",
            "-pbkdf2",
            "-iter",
            "600000",
            "-md",
            "sha256",
            "-pass",
            "env:PASSPHRASE",
            "-in",
        ])
        .arg(backup)
        .env("PASSPHRASE", PASSPHRASE)
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn imported(vendor: &Vendor) -> BTreeMap<String, Vec<u8>> {
    vendor.state.lock().expect("no panic held it").imported.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_script_imports_one_key_into_every_region_and_keeps_it_in_a_protected_backup() {
    for script in &SCRIPTS {
        let vendor = vendor(&["us-west-2", "us-east-1", "eu-west-1"], 2).await;
        let Some(customer) = customer(script, &vendor) else { continue };
        let receipts = customer.succeeds(&[]).await;
        let regions: Vec<&str> = receipts.iter().filter_map(|receipt| receipt["region"].as_str()).collect();
        assert_eq!(regions, ["us-west-2", "us-east-1", "eu-west-1"], "{}", script.file);
        assert_eq!(receipts[2]["keyMaterialId"], "m-eu-west-1", "{}", script.file);
        let kept = fs::read_to_string(customer.path("dave-test.receipts.jsonl")).expect("receipts");
        assert_eq!(kept.lines().count(), 3, "{}", script.file);
        let backup = customer.path("dave-test.key.enc");
        let key = restored(&backup);
        assert_eq!(key.len(), 32, "{}", script.file);
        assert!(imported(&vendor).values().all(|bytes| *bytes == key), "{}", script.file);
        let mode = fs::metadata(&backup).expect("a backup").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: others may read the backup", script.file);
        for entry in fs::read_dir(customer.folder.path()).expect("a folder") {
            let path = entry.expect("an entry").path();
            let bytes = fs::read(&path).expect("a file");
            assert!(!bytes.windows(32).any(|window| window == key), "{} holds the key", path.display());
            assert!(!path.to_string_lossy().ends_with(".part"), "{} was left behind", path.display());
        }
        let again = customer.succeeds(&[]).await;
        assert!(again.is_empty(), "{}: nothing is left to import", script.file);
        assert_eq!(imported(&vendor).len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_upload_each_script_goes_on_with_the_same_key() {
    for script in &SCRIPTS {
        let vendor = vendor(&["us-west-2", "us-east-1"], 9).await;
        vendor.state.lock().expect("no panic held it").failing = vec![500];
        let Some(customer) = customer(script, &vendor) else { continue };
        let said = customer.fails(&[]).await;
        assert!(said.contains("failing") && said.contains("un this again"), "{}: {said}", script.file);
        let key = restored(&customer.path("dave-test.key.enc"));
        assert_eq!(customer.succeeds(&[]).await.len(), 2, "{}", script.file);
        assert!(imported(&vendor).values().all(|bytes| *bytes == key), "{}", script.file);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_script_waits_as_long_as_it_is_told_and_tries_again() {
    for script in &SCRIPTS {
        let vendor = vendor(&["us-west-2"], 9).await;
        vendor.state.lock().expect("no panic held it").failing = vec![503];
        let Some(customer) = customer(script, &vendor) else { continue };
        assert_eq!(customer.succeeds(&[]).await.len(), 1, "{}", script.file);
        assert_eq!(vendor.state.lock().expect("no panic held it").uploads, 2, "{}", script.file);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_one_script_opens_in_every_other_and_in_either_wrapping() {
    let first = vendor(&["us-west-2"], 9).await;
    let Some(maker) = customer(&SCRIPTS[0], &first) else { return };
    fs::write(maker.path("own.key"), [7_u8; 32]).expect("written");
    maker.succeeds(&[("KEY_FILE", "own.key")]).await;
    let backup = fs::read(maker.path("dave-test.key.enc")).expect("a backup");
    for script in &SCRIPTS {
        for wrapping in ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"] {
            let vendor = vendor(&["us-west-2", "us-east-1"], 9).await;
            let Some(customer) = customer(script, &vendor) else { continue };
            fs::write(customer.path("dave-test.key.enc"), &backup).expect("written");
            customer.succeeds(&[("WRAPPING", wrapping), ("REGION", "us-east-1")]).await;
            let expected = BTreeMap::from([("us-east-1".to_owned(), vec![7_u8; 32])]);
            assert_eq!(imported(&vendor), expected, "{} {wrapping}", script.file);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passphrases_lengths_and_keys_are_told_and_nothing_is_uploaded() {
    for script in &SCRIPTS {
        let vendor = vendor(&["us-west-2"], 9).await;
        let Some(customer) = customer(script, &vendor) else { continue };
        fs::write(customer.path("short.key"), [7_u8; 31]).expect("written");
        let short = customer.fails(&[("KEY_FILE", "short.key")]).await;
        assert!(short.contains("32 bytes"), "{}: {short}", script.file);
        fs::write(customer.path("wrong.txt"), "kf_test_wrong\n").expect("written");
        let refused = customer.fails(&[("API_KEY_FILE", "wrong.txt")]).await;
        assert!(refused.contains("api-key-unknown"), "{}: {refused}", script.file);
        let other = customer.fails(&[("BACKUP_PASSPHRASE_FILE", "wrong.txt")]).await;
        assert!(other.contains("does not open with this passphrase"), "{}: {other}", script.file);
        fs::write(customer.path("own.key"), [7_u8; 32]).expect("written");
        let twice = customer.fails(&[("KEY_FILE", "own.key")]).await;
        assert!(twice.contains("exists already"), "{}: {twice}", script.file);
        let unnamed = customer.fails(&[("ENTERPRISE", "@ENTERPRISE@")]).await;
        assert!(unnamed.contains("information packet"), "{}: {unnamed}", script.file);
        assert_eq!(vendor.state.lock().expect("no panic held it").uploads, 0, "{}", script.file);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_in_bash_gives_no_program_the_api_key_or_the_passphrase_as_an_argument() {
    let vendor = vendor(&["us-west-2"], 9).await;
    let Some(customer) = customer(&SCRIPTS[0], &vendor) else { return };
    let spies = customer.path("spies");
    fs::create_dir(&spies).expect("made");
    for tool in ["curl", "openssl", "jq"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("sh runs");
        let real = String::from_utf8(found.stdout).expect("UTF-8");
        let spy = format!(
            "#!/bin/sh\nprintf '%s\\n' {tool} \"$@\" >>\"{}/seen\"\nexec {} \"$@\"\n",
            spies.display(),
            real.trim()
        );
        fs::write(spies.join(tool), spy).expect("written");
        fs::set_permissions(spies.join(tool), fs::Permissions::from_mode(0o755)).expect("changed");
    }
    let path = format!("{}:{}", spies.display(), std::env::var("PATH").expect("a path"));
    assert_eq!(customer.succeeds(&[("PATH", &path)]).await.len(), 1);
    let seen = fs::read_to_string(spies.join("seen")).expect("the spies saw something");
    for tool in ["curl", "openssl", "jq"] {
        assert!(seen.lines().any(|line| line == tool), "{tool} was not seen");
    }
    assert!(!seen.contains(&API_KEY[8..]) && !seen.contains(PASSPHRASE), "{seen}");
}
