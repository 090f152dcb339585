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
        }
    }
}

async fn in_memory() -> (Sandbox, TestWall) {
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
