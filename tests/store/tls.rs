//! A server with a certificate of an authority's own, as a company has it.

use std::{path::Path, process::Command};

use keyferry::store::PostgresStore;

use crate::{
    cli::{keyferry, text},
    support::postgres::{Postgres, hand_over},
};

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority: `NAME.crt` with `NAME.key`.
fn authority(folder: &Path, name: &str) {
    let request = "req -x509 -newkey rsa:2048 -nodes -days 2";
    openssl(folder, &format!("{request} -keyout {name}.key -out {name}.crt -subj /CN={name}"));
}

/// A server whose certificate is for `localhost` alone and is signed by the first of two authorities.
fn certified() -> Option<(tempfile::TempDir, Postgres)> {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    authority(at, "ours");
    authority(at, "theirs");
    std::fs::write(at.join("names"), "subjectAltName=DNS:localhost").expect("written");
    openssl(at, "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost");
    openssl(
        at,
        "x509 -req -in server.csr -CA ours.crt -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
    let server = Postgres::make(tempfile::tempdir().expect("a folder"), "ssl = on\n")?;
    for name in ["server.key", "server.crt"] {
        let file = server.data().join(name);
        std::fs::copy(at.join(name), &file).expect("copied");
        let private = Command::new("chmod").arg("600").arg(&file).status().expect("chmod runs");
        assert!(private.success());
        hand_over(&file);
    }
    assert!(server.tries("start"), "{}", server.log());
    Some((folder, server))
}

#[tokio::test]
async fn a_server_is_believed_when_its_certificate_proves_it_and_refused_with_what_to_do_otherwise() {
    let Some((folder, server)) = certified() else { return };
    let (ours, theirs) = (folder.path().join("ours.crt"), folder.path().join("theirs.crt"));
    let url = |host: &str, mode: &str, root: Option<&Path>| {
        let root = root.map(|root| format!("&sslrootcert={}", root.display())).unwrap_or_default();
        format!("postgres://keyferry@{host}:{}/postgres?sslmode={mode}{root}", server.port)
    };
    PostgresStore::open(&url("localhost", "verify-full", Some(&ours))).await.expect("its certificate proves it");
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'keyferry'";
    let proven = PostgresStore::open(&url("localhost", "verify-full", Some(&ours))).await.expect("and again");
    let mut beside = server.connect().await;
    let all: Option<bool> = sqlx::query_scalar(encrypted).fetch_one(&mut beside).await.expect("asked");
    assert_ne!(all, Some(false), "a connection is not encrypted");
    drop(proven);
    for (url, said, cure) in [
        (url("localhost", "verify-full", Some(&theirs)), "UnknownIssuer", "sslrootcert=FILE"),
        (url("localhost", "verify-full", None), "UnknownIssuer", "sslrootcert=FILE"),
        (url("127.0.0.1", "verify-full", Some(&ours)), "not valid for name", "a host name that its certificate is for"),
        (url("localhost", "verify-ca", Some(&theirs)), "UnknownIssuer", "sslrootcert=FILE"),
        (url("localhost", "verify-full", Some(Path::new("/nowhere/ca.crt"))), "is not there", "sslrootcert"),
    ] {
        let refused = PostgresStore::open(&url).await.expect_err("it was believed").to_string();
        assert!(refused.contains(said) && refused.contains(cure), "{url}: {refused}");
    }
    // Who asks for no more than encryption gets no more.
    PostgresStore::open(&url("127.0.0.1", "require", Some(&theirs))).await.expect("encrypted, and nobody is proven");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let Some(server) = Postgres::start() else { return };
    for mode in ["require", "verify-full"] {
        let url = format!("{}?sslmode={mode}", server.url_at(server.port));
        let refused = PostgresStore::open(&url).await.expect_err("it has no TLS").to_string();
        assert!(refused.contains("does not support TLS") && refused.contains("ssl = on"), "{refused}");
    }
}

#[test]
fn a_way_that_proves_nobody_is_warned_of_unless_it_stays_on_this_machine() {
    let said = |host: &str| {
        // Nothing listens there; the warning comes before.
        let url = format!("postgres://keyferry:sesame@{host}:9/fleet?sslmode=require");
        let folder = tempfile::tempdir().expect("a folder");
        let output =
            keyferry(&["worker"]).env("DATABASE_URL", url).current_dir(folder.path()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let (remote, local) = (said("0.0.0.0"), said("127.0.0.1"));
    assert!(remote.contains("sslmode=verify-full") && !remote.contains("sesame"), "{remote}");
    assert!(!local.contains("sslmode=verify-full"), "{local}");
}
