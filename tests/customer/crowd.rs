//! Customers who come all at once: their test environments make wrapping keys for each, and clients that are slow or silent keep
//! nobody out.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use keyferry::worker::{Clock as _, SystemClock};
use reqwest::{Method, StatusCode};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::support::serving::{Serving, serve};

/// A customer with a key for the test environment: the path of an import request, and the key.
async fn customer(server: &Serving, name: &str) -> (String, String) {
    let new = json!({ "id": name, "name": name, "partition": "aws" });
    server.operator(Method::POST, "/enterprises", "engineer", &new).await;
    (format!("/test/!/ems/enterprises/{name}/cmk/import-key-request"), server.api_key(name, "test").await)
}

/// Asks until it is granted; how often it was told to come again. Any other answer fails.
async fn granted(server: &Serving, (path, key): &(String, String), query: &str) -> usize {
    let mut told = 0;
    loop {
        let answer = server.customer(Method::PUT, &format!("{path}{query}"), key).send().await.unwrap();
        match answer.status() {
            StatusCode::OK => return told,
            StatusCode::TOO_MANY_REQUESTS => {
                let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                SystemClock.sleep(Duration::from_secs(after)).await;
                told += 1;
            }
            other => panic!("{path}: {other} {}", answer.text().await.unwrap()),
        }
    }
}

async fn all_granted(server: &Serving, customers: usize, query: &str) -> Vec<usize> {
    let customers =
        join_all((0..customers).map(|number| async move { customer(server, &format!("customer-{number}")).await }));
    let customers = customers.await;
    join_all(customers.iter().map(|customer| granted(server, customer, query))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_who_ask_their_test_environments_at_once_are_all_granted() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    let told = all_granted(&server, 12, "?wrappingKeySpec=RSA_2048").await;
    assert_eq!(told.len(), 12);
}

/// The time under which so many of a hundred are.
fn percentile(times: &mut [Duration], of: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * of / 100).min(times.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of minutes"]
async fn figures_of_test_environments_that_are_asked_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    let new = json!({ "id": "erin", "name": "Erin", "partition": "aws" });
    server.operator(Method::POST, "/enterprises", "engineer", &new).await;
    let key = server.api_key("erin", "production").await;
    let path = "/!/ems/enterprises/erin/cmk/import-key-request";
    let begun = std::time::Instant::now();
    let mut times = Vec::new();
    let asking = async {
        loop {
            let asked = std::time::Instant::now();
            let answer = server.customer(Method::PUT, path, &key).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::CONFLICT, "nothing is open in production");
            times.push(asked.elapsed());
            // Below the key's own limit.
            SystemClock.sleep(Duration::from_millis(600)).await;
        }
    };
    let told = tokio::select! {
        told = all_granted(&server, 64, "") => told,
        () = asking => unreachable!("it never ends"),
    };
    let (took, asked) = (begun.elapsed(), times.len());
    println!(
        "64 customers, RSA_4096 in two regions: all granted after {took:.1?}, told to come again {} times in all, {} at most; \
         {asked} calls of production meanwhile: median {:.1?}, p95 {:.1?}, longest {:.1?}",
        told.iter().sum::<usize>(),
        told.iter().max().unwrap(),
        percentile(&mut times, 50),
        percentile(&mut times, 95),
        percentile(&mut times, 100),
    );
}

/// A connection from `127.0.0.LAST` that sends `head` and then nothing.
async fn silent(to: SocketAddr, last: u8, head: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    let mut stream = socket.connect(to).await.ok()?;
    // One that was let go already cannot be written to.
    stream.write_all(head.as_bytes()).await.ok()?;
    Some(stream)
}

/// All send something: of a client that sends nothing while the kernel's queue is full, no server ever hears.
const HEADS: [&str; 4] = [
    "G",
    "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ",
    "POST /api/v1/enterprises HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
    "PUT /!/ems/enterprises/dave/cmk/import-key-request HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
];

/// `crowd` silent connections to a listener, from so many addresses, and meanwhile `good` requests for its path: how long each
/// took, sorted, and how long the last of the silent ones was held.
async fn among_silent(to: &str, path: &str, crowd: usize, addresses: u8, good: usize) -> (Vec<Duration>, Duration) {
    let address: SocketAddr = to.trim_start_matches("http://").parse().unwrap();
    let connected = std::time::Instant::now();
    let silent: Vec<TcpStream> = join_all((0..crowd).map(|number| {
        let last = u8::try_from(number % usize::from(addresses)).unwrap() + 1;
        silent(address, last, HEADS[number % HEADS.len()])
    }))
    .await
    .into_iter()
    .flatten()
    .collect();
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    let mut times = Vec::new();
    for _ in 0..good {
        let begun = std::time::Instant::now();
        let answered = client.get(format!("{to}{path}")).send().await.unwrap();
        assert!(answered.status().as_u16() < 500, "{}", answered.status());
        times.push(begun.elapsed());
    }
    let closed = silent.into_iter().map(|mut stream| async move {
        let mut heard = Vec::new();
        // Closed with an answer, or by a reset.
        stream.read_to_end(&mut heard).await.unwrap_or_default()
    });
    let closed = tokio::time::timeout(Duration::from_secs(300), join_all(closed)).await;
    assert!(closed.is_ok(), "some are held open");
    times.sort_unstable();
    (times, connected.elapsed())
}

/// Lets this process open as many files as the system lets it.
fn open_many() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_are_closed_and_keep_nobody_out() {
    open_many();
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    for (to, path) in [(&server.api, "/healthz"), (&server.customer, "/!/ems/nothing")] {
        for addresses in [1, 50] {
            among_silent(to, path, 1_500, addresses, 5).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of minutes"]
async fn figures_of_silent_clients() {
    open_many();
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &[]);
    for (to, path) in [(&server.api, "/healthz"), (&server.customer, "/!/ems/nothing")] {
        for addresses in [1, 50] {
            let (mut times, held) = among_silent(to, path, 2_000, addresses, 300).await;
            println!(
                "2,000 silent connections from {addresses} addresses: {path} median {:.1?}, p99 {:.1?}, longest {:.1?}; the last closed after {held:.1?}",
                percentile(&mut times, 50),
                percentile(&mut times, 99),
                percentile(&mut times, 100),
            );
        }
    }
}
