//! Key import over a socket, with the program as its server: the specification's own shell sample, the doctor's answers, and
//! a death between KMS and our commit.

use std::{path::Path, process::Command, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keyferry::{
    keys::import::Algorithm,
    sandbox::{Options, Sandbox},
    worker::{Clock as _, SystemClock},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{
    import::{EAST, WEST, wrap},
    serving::serve,
};

const CMK: &str = "/!/ems/enterprises/dave/cmk";

fn upload(opened: &Value, plain: &[u8]) -> Value {
    let material = wrap(opened["publicKey"].as_str().unwrap(), Algorithm::OaepSha1, plain);
    json!({ "importToken": opened["importToken"], "keyMaterial": BASE64.encode(material) })
}

async fn told(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Imports that the sandbox of a stopped server has seen.
async fn imports(folder: &Path) -> usize {
    let options = Options {
        data: Some(folder.join("sandbox.db")),
        speed: 1.0,
        wall: Arc::new(|| SystemClock.now()),
        default_account: "127450652264".to_owned(),
        quotas: 1,
    };
    let ledger = Sandbox::open(options).await.unwrap().ledger();
    ledger.iter().filter(|entry| entry.action == "ImportKeyMaterial").count()
}

/// The sample as it stands, where base64 does not break its lines.
fn sample(endpoint: &str, key: &str) {
    let folder = tempfile::tempdir().unwrap();
    let unbroken = r#"base64() { case "$*" in *-d*) command base64 "$@" ;; *) command base64 -w0 "$@" ;; esac; }"#;
    let script = format!("set -e\n{unbroken}\n{}", include_str!("../customer/sample.sh"));
    let ran = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .envs([("apikey", key), ("enterpriseid", "dave"), ("endpoint", endpoint)])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let answer: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(answer["status"], "imported", "{answer}");
    assert!(answer["id"].is_string(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_told_in_both_environments_and_wrong_paths_name_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    for environment in ["", "/test"] {
        let document = server.customer(Method::GET, &format!("{environment}/!/ems/openapi.json"), "no key");
        assert_eq!(document.send().await.unwrap().status(), 200, "{environment}");
    }
    for (wrong, meant) in [
        ("/!/ems/enterprises/dave/cmk/import-key/", format!("{CMK}/import-key")),
        ("/ems/enterprises/dave/cmk/import-key", format!("{CMK}/import-key")),
        ("/!/EMS/enterprises/dave/CMK/import-key", format!("{CMK}/import-key")),
        ("/test/!/ems/enterprises/dave/cmk/import-key/", format!("/test{CMK}/import-key")),
    ] {
        let (status, body) = told(server.customer(Method::POST, wrong, "no key")).await;
        assert_eq!(
            (status, &body["code"], body["meant"].as_str()),
            (404, &json!("not-found"), Some(meant.as_str())),
            "{wrong}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_sample_run_once_a_region_completes_an_onboarding() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    let run = server.waiting("dave").await;
    let (live, test) = (server.api_key("dave", "production").await, server.api_key("dave", "test").await);
    for (endpoint, key) in [(server.customer.clone(), live.clone()), (format!("{}/test", server.customer), test)] {
        for _ in [WEST, EAST] {
            let (endpoint, key) = (endpoint.clone(), key.clone());
            tokio::task::spawn_blocking(move || sample(&endpoint, &key)).await.unwrap();
        }
    }
    server.until(&run, |forms| !forms.contains(&"key-import".to_owned())).await;
    let (status, over) = told(server.customer(Method::PUT, &format!("{CMK}/import-key-request"), &live)).await;
    assert_eq!((status, &over["code"]), (409, &json!("import-not-open")), "{over}");
    drop(server);
    assert_eq!(imports(folder.path()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_answers_over_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    server.waiting("dave").await;
    let key = server.api_key("dave", "production").await;
    let opened = server.ask(&key, "?wrappingKeySpec=RSA_2048").await;
    assert_eq!((&opened["region"], &opened["remaining"]), (&json!(WEST), &json!([WEST, EAST])));
    assert_eq!(opened["targets"].as_array().unwrap().len(), 2);
    assert!(opened["publicKey"].as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let good = upload(&opened, &[5; 32]).to_string();
    let post = |path: &str, kind: Option<&str>, body: String| {
        let request = server.customer(Method::POST, path, &key).body(body);
        match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        }
    };
    let (path, json) = (format!("{CMK}/import-key"), Some("application/json"));
    let cut = good.find("keyMaterial").unwrap() + "keyMaterial\":\"".len() + 76;
    for (kind, body, wanted) in [
        (None, good.clone(), (415, "content-type-wrong")),
        (Some("application/x-www-form-urlencoded"), good.clone(), (415, "content-type-wrong")),
        (json, "x".repeat(16 * 1024 + 1), (413, "body-too-large")),
        (json, good[..cut].to_owned(), (400, "json-cut-by-base64-lines")),
        (json, String::new(), (400, "body-missing")),
        (json, good.replace("kfi_live_", "kfi_test_"), (409, "import-token-of-test")),
    ] {
        let (status, body) = told(post(&path, kind, body)).await;
        assert_eq!((status, body["code"].as_str().unwrap()), wanted, "{body}");
        assert!(!body["cure"].as_array().unwrap().is_empty(), "{body}");
    }
    let early = server.customer(Method::PUT, &format!("{CMK}/import-key-request"), &key).body("key");
    assert_eq!(told(early).await.1["code"], "request-body-not-empty");
    // The other spelling of the path, and base64 in lines.
    let lines = good.replacen("\"keyMaterial\":\"", "\"keyMaterial\":\"\n", 1);
    let (status, receipt) = told(post(&path.replace('!', "%21"), json, lines)).await;
    assert_eq!(
        (status, &receipt["status"], &receipt["remaining"]),
        (200, &json!("imported"), &json!([EAST])),
        "{receipt}"
    );
    let (status, again) = told(post(&path, json, good)).await;
    assert_eq!((status, &again["code"], &again["sameUpload"]), (409, &json!("import-token-used"), &json!(true)));
    assert_eq!(again["keyMaterialId"], receipt["keyMaterialId"]);
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_kms_and_the_commit_it_tells_the_truth_when_it_is_asked_again() {
    for (failpoint, wanted) in [("import::after_relay", 200), ("import::after_commit", 409)] {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(folder.path(), Some(failpoint), &[]);
        server.waiting("dave").await;
        let key = server.api_key("dave", "production").await;
        let opened = server.ask(&key, "?wrappingKeySpec=RSA_2048").await;
        let body = upload(&opened, &[6; 32]);
        let sent = server.customer(Method::POST, &format!("{CMK}/import-key"), &key).json(&body).send().await;
        assert!(sent.is_err(), "{failpoint}: it did not die");
        drop(server);
        let server = serve(folder.path(), None, &[]);
        let other = server.customer(Method::POST, &format!("{CMK}/import-key"), &key).json(&upload(&opened, &[8; 32]));
        let (status, answer) =
            told(server.customer(Method::POST, &format!("{CMK}/import-key"), &key).json(&body)).await;
        assert_eq!(status, wanted, "{failpoint}: {answer}");
        assert_eq!(answer["keyMaterialId"].as_str().map(str::len), Some(64), "{failpoint}: {answer}");
        assert_eq!(told(other).await.1["code"], "import-token-used", "{failpoint}");
        drop(server);
        assert_eq!(imports(folder.path()).await, 1, "{failpoint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_fetches_their_audits_with_a_key_that_cannot_import() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    server.waiting("dave").await;
    let importing = server.api_key("dave", "production").await;
    let order = json!({ "environment": "production", "scope": "audits" });
    let made = server.operator(Method::POST, "/enterprises/dave/api-keys", "engineer", &order).await;
    let reading = made["key"].as_str().unwrap();
    let audits = "/!/ems/enterprises/dave/audits";
    let (status, listed) = told(server.customer(Method::GET, audits, reading)).await;
    assert_eq!((status, &listed["items"]), (200, &json!([])), "{listed}");
    let (status, none) = told(server.customer(Method::GET, &format!("{audits}/latest"), reading)).await;
    assert_eq!((status, &none["code"]), (404, &json!("not-found")), "{none}");
    for (method, path, key) in [
        (Method::GET, audits.to_owned(), importing.as_str()),
        (Method::PUT, format!("{CMK}/import-key-request"), reading),
        (Method::POST, format!("{CMK}/import-key"), reading),
    ] {
        let (status, refused) = told(server.customer(method, &path, key)).await;
        assert_eq!((status, &refused["code"]), (403, &json!("wrong-scope")), "{path}: {refused}");
    }
}
