use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use chrono::DateTime;
use http::{Request, Response};

use super::*;

/// A wall clock that the test moves.
#[derive(Clone, Default)]
pub struct TestWall(Arc<AtomicI64>);

impl TestWall {
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn options(&self, data: Option<std::path::PathBuf>) -> Options {
        let seconds = Arc::clone(&self.0);
        Options {
            data,
            speed: 1.0,
            wall: Arc::new(move || {
                DateTime::from_timestamp(1_790_000_000 + seconds.load(Ordering::SeqCst), 0).unwrap()
            }),
            default_account: "127450652264".to_owned(),
            quotas: 1,
        }
    }
}

pub async fn in_memory() -> (Sandbox, TestWall) {
    let wall = TestWall::default();
    (Sandbox::open(wall.options(None)).await.unwrap(), wall)
}

fn signed(service: &str, region: &str, access_key: &str, token: Option<&str>) -> http::request::Builder {
    let scope = format!("{access_key}/20260901/{region}/{service}/aws4_request");
    let request = Request::builder()
        .method("POST")
        .uri("http://sandbox/")
        .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"));
    match token {
        Some(token) => request.header("x-amz-security-token", token),
        None => request,
    }
}

async fn sts(sandbox: &Sandbox, access_key: &str, token: Option<&str>, form: &str) -> (u16, String) {
    let request = signed("sts", "us-east-1", access_key, token).body(Bytes::from(form.to_owned())).unwrap();
    text(sandbox.handle(request).await)
}

fn text(response: Response<Bytes>) -> (u16, String) {
    (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

const ASSUME: &str = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fadmin\
                      &RoleSessionName=dave&DurationSeconds=900";

#[tokio::test]
async fn a_session_acts_in_its_roles_account_until_it_expires() {
    let (sandbox, wall) = in_memory().await;
    let (status, body) = sts(&sandbox, "AKIA1", None, ASSUME).await;
    assert_eq!(status, 200, "{body}");
    let key = between(&body, "<AccessKeyId>", "<").to_owned();
    let token = between(&body, "<SessionToken>", "<").to_owned();
    let who = "Action=GetCallerIdentity&Version=2011-06-15";
    let (_, body) = sts(&sandbox, &key, Some(&token), who).await;
    assert!(body.contains("<Arn>arn:aws:sts::123456789012:assumed-role/admin/dave</Arn>"), "{body}");
    let (status, body) = sts(&sandbox, &key, Some("another"), who).await;
    assert_eq!((status, between(&body, "<Code>", "<")), (403, "InvalidClientTokenId"));
    wall.advance(901);
    let (status, body) = sts(&sandbox, &key, Some(&token), who).await;
    assert_eq!((status, between(&body, "<Code>", "<")), (403, "ExpiredToken"));
}

#[tokio::test]
async fn a_session_lasts_by_the_walls_clock_however_fast_the_sandboxs_runs() {
    let wall = TestWall::default();
    let sandbox = Sandbox::open(Options { speed: 600.0, ..wall.options(None) }).await.unwrap();
    let (_, body) = sts(&sandbox, "AKIA1", None, ASSUME).await;
    let key = between(&body, "<AccessKeyId>", "<").to_owned();
    let token = between(&body, "<SessionToken>", "<").to_owned();
    let who = "Action=GetCallerIdentity&Version=2011-06-15";
    wall.advance(899);
    assert_eq!(sts(&sandbox, &key, Some(&token), who).await.0, 200);
    wall.advance(1);
    let (status, body) = sts(&sandbox, &key, Some(&token), who).await;
    assert_eq!((status, between(&body, "<Code>", "<")), (403, "ExpiredToken"));
}

#[tokio::test]
async fn made_up_credentials_are_the_default_accounts_administrator() {
    let (sandbox, _) = in_memory().await;
    let (_, body) = sts(&sandbox, "test", None, "Action=GetCallerIdentity").await;
    assert!(body.contains("<Arn>arn:aws:iam::127450652264:root</Arn>"), "{body}");
    assert!(body.contains("xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\""), "{body}");
}

#[tokio::test]
async fn a_request_without_credentials_is_refused_in_its_own_protocol() {
    let (sandbox, _) = in_memory().await;
    let request = Request::post("http://sandbox/").header("x-amz-target", "TrentService.ListKeys").body(Bytes::new());
    let (status, body) = text(sandbox.handle(request.unwrap()).await);
    assert_eq!(status, 400);
    assert!(body.contains("MissingAuthenticationTokenException"), "{body}");
    let request = Request::post("http://sandbox/").body(Bytes::from("Action=GetCallerIdentity")).unwrap();
    let (status, body) = text(sandbox.handle(request).await);
    assert_eq!((status, between(&body, "<Code>", "<")), (403, "MissingAuthenticationToken"));
}

#[tokio::test]
async fn a_second_opening_of_a_data_file_is_refused_and_sessions_survive_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let wall = TestWall::default();
    let options = || wall.options(Some(folder.path().join("cloud.db")));
    let first = Sandbox::open(options()).await.unwrap();
    let (_, body) = sts(&first, "AKIA1", None, ASSUME).await;
    let second = Sandbox::open(options()).await;
    assert!(matches!(second, Err(SandboxError::InUse { .. })), "{second:?}");
    drop(first);
    let again = Sandbox::open(options()).await.unwrap();
    let (key, token) = (between(&body, "<AccessKeyId>", "<"), between(&body, "<SessionToken>", "<"));
    let (_, body) = sts(&again, key, Some(token), "Action=GetCallerIdentity").await;
    assert!(body.contains("assumed-role/admin/dave"), "{body}");
}

#[tokio::test]
async fn role_and_session_names_are_validated_as_sts_does() {
    let (sandbox, _) = in_memory().await;
    for (form, code) in [
        ("Action=AssumeRole&RoleSessionName=ab", "ValidationError"),
        ("Action=AssumeRole&RoleSessionName=a&RoleArn=arn:aws:iam::123456789012:role/x", "ValidationError"),
        ("Action=AssumeRole&RoleSessionName=ab&RoleArn=arn:aws:iam::12345:role/xxxxxxxxxx", "ValidationError"),
        (
            "Action=AssumeRole&RoleSessionName=ab&RoleArn=arn:aws:iam::123456789012:role/x&DurationSeconds=899",
            "ValidationError",
        ),
        ("Action=Nothing", "InvalidAction"),
    ] {
        let (status, body) = sts(&sandbox, "test", None, form).await;
        assert_eq!((status, between(&body, "<Code>", "<")), (400, code), "{form}");
    }
}

async fn kms(sandbox: &Sandbox, action: &str, body: serde_json::Value) -> serde_json::Value {
    let request = signed("kms", "us-west-2", "test", None).header("x-amz-target", format!("TrentService.{action}"));
    let (status, body) = text(sandbox.handle(request.body(Bytes::from(body.to_string())).unwrap()).await);
    assert_eq!(status, 200, "{action}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn keys_ciphertexts_and_the_ledger_survive_the_process_and_time_goes_on_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let wall = TestWall::default();
    let options = || wall.options(Some(folder.path().join("cloud.db")));
    let first = Sandbox::open(options()).await.unwrap();
    let made = kms(&first, "CreateKey", serde_json::json!({})).await;
    let key = made["KeyMetadata"]["KeyId"].clone();
    let sealed = kms(&first, "Encrypt", serde_json::json!({"KeyId": key, "Plaintext": "eA=="})).await;
    let (ledger, before) = (first.ledger(), first.now());
    assert_eq!(ledger.len(), 1);
    drop(first);
    wall.advance(3600);
    let again = Sandbox::open(options()).await.unwrap();
    assert_eq!(again.ledger(), ledger);
    assert_eq!(again.now() - before, chrono::TimeDelta::hours(1));
    let opened = kms(&again, "Decrypt", serde_json::json!({"CiphertextBlob": sealed["CiphertextBlob"]})).await;
    assert_eq!(opened["Plaintext"], "eA==");
    kms(&again, "DisableKey", serde_json::json!({"KeyId": key})).await;
    assert_eq!(again.ledger().last().unwrap().seq, 2);
}

#[tokio::test]
async fn on_http_a_lost_reply_closes_the_connection_after_the_effect() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (sandbox, _) = in_memory().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(sandbox.clone().listen(listener, async move { drop(stopped.await) }));
    let exchange = async |request: String| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer).await);
        answer
    };
    let rule = r#"{"action": "CreateKey", "kind": "lost_reply", "remaining": 1}"#;
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
    };
    assert!(exchange(post("/_sandbox/faults", "", rule)).await.starts_with("HTTP/1.1 201"));
    let headers = "authorization: AWS4-HMAC-SHA256 Credential=a/20260901/us-west-2/kms/aws4_request\r\n\
                   x-amz-target: TrentService.CreateKey\r\n";
    assert_eq!(exchange(post("/", headers, "{}")).await, "");
    assert_eq!(sandbox.ledger().len(), 1);
    assert!(exchange(post("/", headers, "{}")).await.starts_with("HTTP/1.1 200"));
    let ledger = exchange("GET /_sandbox/ledger HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()).await;
    assert_eq!(ledger.matches("\"action\":\"CreateKey\"").count(), 2, "{ledger}");
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}
