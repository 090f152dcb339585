//! The accept loop. `axum::serve` gives hyper no timer, and without one hyper's limit on the time for a request's head does
//! nothing: a client could hold a connection for ever by sending one header a minute.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

/// What a server grants its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From a connection's beginning, or its last answer, to a request's complete head.
    pub head: Duration,
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// For requests in flight, once told to stop.
    pub drain: Duration,
    /// Whether a connection may bring a further request. If not, what a request brought is in the connection's buffers for no
    /// longer than its answer takes.
    pub keep_alive: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), connections: 512, drain: Duration::from_secs(20), keep_alive: true }
    }
}

impl Limits {
    /// Where customers call: a key that was sent unwrapped by mistake leaves memory with its connection.
    pub fn customers() -> Self {
        Self { keep_alive: false, ..Self::default() }
    }
}

/// After a failed accept (usually: out of file descriptors), this long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 until `shutdown` turns true, then lets requests in flight end.
///
/// # Errors
/// The listener is not usable; a connection that fails ends alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.local_addr()?;
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?, slot))
        };
        tokio::select! {
            accepted = next => match accepted {
                Ok(((stream, peer), slot)) => begin(stream, slot, WithPeer::new(&router, peer), limits, &graceful),
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    pause(ACCEPT_PAUSE).await;
                }
            },
            () = stopped(&mut shutdown) => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open at the end");
    }
    Ok(())
}

/// Returns once the server is told to stop, or once nobody could tell it any more.
pub async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

/// Lets time pass; the loop has nothing else to wait for meanwhile.
async fn pause(length: Duration) {
    let mut ticks = tokio::time::interval(length);
    ticks.tick().await;
    ticks.tick().await;
}

/// The router for one connection: it tells each request who its peer is, as a [`ConnectInfo`] in its extensions.
struct WithPeer {
    inner: TowerToHyperService<Router>,
    peer: SocketAddr,
}

impl WithPeer {
    fn new(router: &Router, peer: SocketAddr) -> Self {
        Self { inner: TowerToHyperService::new(router.clone()), peer }
    }
}

impl Service<Request<Incoming>> for WithPeer {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.inner.call(request)
    }
}

fn begin(stream: TcpStream, slot: OwnedSemaphorePermit, router: WithPeer, limits: Limits, graceful: &GracefulShutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "a connection is gone already");
        return;
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(limits.keep_alive)
        .serve_connection(TokioIo::new(stream), router);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error, "a connection ended early");
        }
        drop(slot);
    });
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(
        limits: Limits,
    ) -> (std::net::SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, shutdown) = watch::channel(false);
        let slow = || async {
            tokio::task::yield_now().await;
            "done"
        };
        let server = tokio::spawn(serve(listener, Router::new().route("/", get(slow)), limits, shutdown));
        (address, stop, server)
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_head_is_let_go() {
        let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
        let (address, _stop, _server) = start(limits).await;
        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.expect("sent");
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "the connection was held open");
    }

    #[tokio::test]
    async fn the_connection_cap_makes_further_clients_wait_not_fail() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (address, _stop, _server) = start(limits).await;
        let first = TcpStream::connect(address).await.expect("connected");
        let mut second = TcpStream::connect(address).await.expect("queued");
        second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sent");
        let mut heard = Vec::new();
        let early = tokio::time::timeout(Duration::from_millis(100), second.read_to_end(&mut heard)).await;
        assert!(early.is_err(), "it was served beyond the cap");
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), second.read_to_end(&mut heard))
            .await
            .expect("served")
            .expect("read");
        assert!(String::from_utf8_lossy(&heard).ends_with("done"));
    }

    #[tokio::test]
    async fn without_keep_alive_a_connection_ends_with_its_answer() {
        for keep_alive in [true, false] {
            let (address, _stop, _server) = start(Limits { keep_alive, ..Limits::default() }).await;
            let mut client = TcpStream::connect(address).await.expect("connected");
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
            let mut heard = Vec::new();
            let ended = tokio::time::timeout(Duration::from_millis(300), client.read_to_end(&mut heard)).await;
            assert_eq!(ended.is_err(), keep_alive, "{}", String::from_utf8_lossy(&heard));
            assert!(String::from_utf8_lossy(&heard).ends_with("done"));
        }
    }

    #[tokio::test]
    async fn a_stopped_server_takes_no_more_and_ends() {
        let (address, stop, server) = start(Limits::default()).await;
        stop.send(true).expect("the server listens");
        tokio::time::timeout(Duration::from_secs(5), server)
            .await
            .expect("ended")
            .expect("no panic")
            .expect("no error");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
