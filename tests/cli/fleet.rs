//! Several processes on one PostgreSQL.

use std::{process::Stdio, time::Duration};

use sqlx::{Connection as _, PgConnection};

use super::{Server, ask, keyferry, listening, text};
use crate::support::postgres::Database;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Transactions that a database has seen, as counted from beside it.
async fn transactions(connection: &mut PgConnection, name: &str) -> i64 {
    let count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1";
    sqlx::query_scalar(count).bind(name).fetch_one(connection).await.expect("a count")
}

#[expect(clippy::disallowed_methods, reason = "what is measured is the wall's time")]
async fn idle_for(time: Duration) {
    tokio::time::sleep(time).await;
}

#[test]
fn a_worker_and_a_server_share_a_database_and_cost_it_little_when_idle() {
    let runtime = runtime();
    let Some(database) = runtime.block_on(Database::make()) else { return };
    let (url, name) = (&database.url, &database.name);
    let folder = tempfile::tempdir().expect("a folder");
    let start = |arguments: &[&str], data: &str| {
        let data = folder.path().join(data);
        let mut command = keyferry(arguments);
        command.args(["--output", "json", "--database", url, "--data-dir", &data.to_string_lossy()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
    };
    let mut worker = start(&["worker"], "worker");
    let working = super::first_line(&mut worker);
    assert!(working["working"].as_str().is_some_and(|place| place.ends_with(name)), "{working}");
    let mut worker = Server(worker);
    let idle = runtime.block_on(async {
        let mut connection = PgConnection::connect(&database.maintenance).await.expect("the server answers");
        // A connection that lies idle tells its part of the start ten seconds later.
        idle_for(Duration::from_secs(12)).await;
        let before = transactions(&mut connection, name).await;
        idle_for(Duration::from_secs(8)).await;
        transactions(&mut connection, name).await - before
    });
    eprintln!("an idle worker cost {idle} queries in 8 seconds");
    assert!((1..16).contains(&idle), "{idle} queries in 8 seconds");
    let mut server = start(&["serve", "--listen", "127.0.0.1:0"], "serve");
    let address = listening(&mut server);
    let mut server = Server(server);
    let answer = ask(&address, &format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(worker.terminate(), Some(0));
}

#[test]
fn a_database_that_cannot_be_reached_is_told_without_its_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = keyferry(&["worker", "--database", "postgres://keyferry:sesame@127.0.0.1:9/fleet"])
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("postgres://127.0.0.1:9/fleet") && !said.contains("sesame"), "{said}");
    let output = keyferry(&["worker"]).current_dir(folder.path()).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "a worker needs a database to share");
}
