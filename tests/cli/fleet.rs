//! Several processes on one PostgreSQL.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};

use super::{Server, ask, keyferry, listening, text};
use crate::support::{patience::looks, postgres::Database};

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

/// Transactions in a span of time.
#[derive(Debug)]
struct Cost {
    transactions: i64,
    seconds: f64,
}

impl Cost {
    /// Fewer than two for each look of the worker, which takes one a second by its own clock: of the time that really passed,
    /// however late this test comes to look, and however slowly the worker gets on.
    #[expect(clippy::cast_precision_loss, reason = "a few transactions")]
    fn is_little(&self) -> bool {
        self.transactions >= 1 && (self.transactions as f64) < 2.0 * self.seconds
    }
}

/// Whether the last two spans have cost little.
fn is_idle(costs: &[Cost]) -> bool {
    matches!(costs, [.., one, other] if one.is_little() && other.is_little())
}

/// What the database is asked in spans of time, until two have cost little: connections tell their part of the start late.
async fn idle_costs(database: &Database) -> Vec<Cost> {
    let mut connection = PgConnection::connect(&database.maintenance).await.expect("the server answers");
    let mut costs = Vec::new();
    for () in looks() {
        let (begun, before) = (Instant::now(), transactions(&mut connection, &database.name).await);
        idle_for(Duration::from_secs(8)).await;
        let transactions = transactions(&mut connection, &database.name).await - before;
        costs.push(Cost { transactions, seconds: begun.elapsed().as_secs_f64() });
        if is_idle(&costs) {
            break;
        }
    }
    costs
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
    let costs = runtime.block_on(idle_costs(&database));
    assert!(is_idle(&costs), "an idle worker never costs little: {costs:?}");
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
