//! Two servers over one PostgreSQL, behind a load balancer: a customer's calls reach now one, now the other.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keyferry::keys::import::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::{
    import::{EAST, WEST, wrap},
    required,
    serving::{Serving, sandbox, serve_with},
};

const CMK: &str = "/test/!/ems/enterprises/dave/cmk";

/// A database of the test's own, by name.
async fn database(maintenance: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(maintenance).await.unwrap();
    let make = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    format!("{}/{name}", maintenance.rsplit_once('/').unwrap().0)
}

/// Two servers with these arguments too, and dave's key for the test environment.
async fn two(url: &str, folder: &tempfile::TempDir, arguments: &[&str]) -> (Serving, Serving, String) {
    let server = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        serve_with(&folder, &[&["--database", url], arguments].concat(), &[])
    };
    let (a, b) = (server("a"), server("b"));
    let new = json!({ "id": "dave", "name": "Dave", "partition": "aws", "customer_email": "dave@example.com" });
    a.operator(Method::POST, "/enterprises", "engineer", &new).await;
    let key = a.api_key("dave", "test").await;
    (a, b, key)
}

async fn ask(server: &Serving, key: &str, region: &str) -> (u16, Value) {
    let path = format!("{CMK}/import-key-request?region={region}&wrappingKeySpec=RSA_2048");
    let response = server.customer(Method::PUT, &path, key).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn upload(server: &Serving, key: &str, opened: &Value) -> (u16, Value) {
    let material = wrap(opened["publicKey"].as_str().unwrap(), Algorithm::OaepSha1, &[7; 32]);
    let body = json!({ "importToken": opened["importToken"], "keyMaterial": BASE64.encode(material) });
    let response = server.customer(Method::POST, &format!("{CMK}/import-key"), key).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_share_a_test_environment_take_each_others_tokens() {
    let Some(maintenance) = required("KEYFERRY_TEST_POSTGRES", "PostgreSQL") else { return };
    let url = database(&maintenance, "keyferry_suite_shared_test").await;
    let folder = tempfile::tempdir().unwrap();
    let cloud = sandbox(&folder.path().join("test-cloud.db"), "1");
    let (a, b, key) = two(&url, &folder, &["--test-sandbox-url", &cloud.url]).await;
    for (asked, uploaded, region) in [(&a, &b, WEST), (&b, &a, EAST)] {
        let (status, opened) = ask(asked, &key, region).await;
        assert_eq!((status, &opened["region"]), (200, &json!(region)), "{opened}");
        let (status, receipt) = upload(uploaded, &key, &opened).await;
        assert_eq!((status, &receipt["status"]), (200, &json!("imported")), "{receipt}");
    }
    let (status, next) = ask(&b, &key, WEST).await;
    assert_eq!(status, 200, "the next round: {next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_test_environment_says_so_and_loses_nothing() {
    let Some(maintenance) = required("KEYFERRY_TEST_POSTGRES", "PostgreSQL") else { return };
    let url = database(&maintenance, "keyferry_suite_own_test").await;
    let folder = tempfile::tempdir().unwrap();
    let (a, b, key) = two(&url, &folder, &[]).await;
    let elsewhere = |(status, body): (u16, Value)| {
        assert_eq!((status, &body["code"]), (503, &json!("test-environment-elsewhere")), "{body}");
    };
    for region in [WEST, EAST] {
        let (status, opened) = ask(&a, &key, region).await;
        assert_eq!(status, 200, "{opened}");
        elsewhere(ask(&b, &key, region).await);
        elsewhere(upload(&b, &key, &opened).await);
        let (status, receipt) = upload(&a, &key, &opened).await;
        assert_eq!((status, &receipt["status"]), (200, &json!("imported")), "{receipt}");
    }
    let (status, next) = ask(&b, &key, WEST).await;
    assert_eq!(status, 200, "a round that is over binds nobody: {next}");
}
