//! The accept loop. `axum::serve` gives hyper no timer, and without one hyper's limit on the time for a request's head does
//! nothing: a client could hold a connection for ever by sending one header a minute.

mod arriving;
mod crowd;
mod line;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Request, StatusCode, Version, header};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Sleep,
};

use self::{
    arriving::Arriving,
    crowd::{Crowd, Place},
    line::Line,
};
use super::problem::Problem;
use crate::access::Proxies;

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;

/// What a server grants its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From a connection's beginning, or its last answer, to a request's complete head.
    pub head: Duration,
    /// From a request's head to the end of its body.
    pub body: Duration,
    /// How long a client may take nothing of its answer.
    pub stall: Duration,
    /// Connections at once. Beyond it, who has kept the server waiting the longest is let go for who comes.
    pub connections: usize,
    /// For requests in flight, once told to stop.
    pub drain: Duration,
    /// Whether a connection may bring a further request. If not, what a request brought is in the connection's buffers for no
    /// longer than its answer takes.
    pub keep_alive: bool,
    /// Whose word about where a request came from is believed: their connections count for their clients.
    pub proxies: Proxies,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(8),
            body: Duration::from_secs(8),
            stall: Duration::from_secs(8),
            connections: 1024,
            drain: Duration::from_secs(20),
            keep_alive: true,
            proxies: Proxies::default(),
        }
    }
}

impl Limits {
    /// Where customers call: a key that was sent unwrapped by mistake leaves memory with its connection.
    pub fn customers(proxies: Proxies) -> Self {
        Self { keep_alive: false, proxies, ..Self::default() }
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
    let crowd = Crowd::new(limits.connections);
    loop {
        let next = async {
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((stream, peer, crowd.enter(peer.ip()).await))
        };
        tokio::select! {
            accepted = next => match accepted {
                Ok((stream, peer, place)) => begin(stream, WithPeer::new(&router, peer, place, &limits), &limits, &graceful),
                Err(error) => {
                    let made_room = crowd.dismiss_one();
                    tracing::warn!(error = %error, made_room, "a connection could not be accepted");
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

/// Runs for so long; a client's time is the machine's, whatever the clock of the runs says.
#[expect(clippy::disallowed_methods, reason = "nothing of a run depends on it")]
fn after(length: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(length))
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
    place: Arc<Place>,
    proxies: Proxies,
    body: Duration,
}

impl WithPeer {
    fn new(router: &Router, peer: SocketAddr, place: Place, limits: &Limits) -> Self {
        Self {
            inner: TowerToHyperService::new(router.clone()),
            peer,
            place: Arc::new(place),
            proxies: limits.proxies.clone(),
            body: limits.body,
        }
    }

    fn from(&self, headers: &HeaderMap) -> IpAddr {
        self.proxies.address(self.peer.ip(), headers)
    }
}

impl Service<Request<Incoming>> for WithPeer {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let place = Arc::clone(&self.place);
        place.stand_for(self.from(request.headers()));
        let refused = host_refused(&request);
        let (head, body) = request.into_parts();
        let waits_to_be_asked = head.headers.contains_key(header::EXPECT);
        let (body, rest) = Arriving::new(body, self.body, waits_to_be_asked, Arc::clone(&place));
        let answer = refused.is_none().then(|| self.inner.call(Request::from_parts(head, body)));
        Box::pin(async move {
            let answered = match (refused, answer) {
                (Some(refused), _) => Ok(refused.into_response()),
                (None, Some(answer)) => answer.await,
                (None, None) => Ok(Problem::internal().into_response()),
            };
            arriving::drain(&rest).await;
            place.connection.set_working(false);
            answered
        })
    }
}

/// RFC 9112, section 3.2: a request of HTTP/1.1 names its host once.
fn host_refused(request: &Request<Incoming>) -> Option<Problem> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let is_enough = hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11);
    let detail = format!("A request of HTTP/1.1 has one header `Host`; this one has {hosts}.");
    (!is_enough).then(|| Problem::new(StatusCode::BAD_REQUEST, "host-wrong", detail))
}

fn begin(stream: TcpStream, router: WithPeer, limits: &Limits, graceful: &GracefulShutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "a connection is gone already");
        return;
    }
    let place = Arc::clone(&router.place);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(LARGEST_HEAD)
        .keep_alive(limits.keep_alive)
        .serve_connection(TokioIo::new(Line::new(stream, limits.stall)), router);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(error = %error, "a connection ended early");
            },
            () = place.connection.dismissed() => tracing::debug!("a connection was dismissed: others wait"),
        }
    });
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
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
        let read = |body: axum::body::Bytes| async move { format!("{}", body.len()) };
        let much = || async { "x".repeat(64 * 1024 * 1024) };
        let router = Router::new().route("/", get(slow)).route("/read", post(read)).route("/much", get(much));
        let server = tokio::spawn(serve(listener, router, limits, shutdown));
        (address, stop, server)
    }

    /// What the server says to `sent` until it closes the connection.
    async fn ask(address: SocketAddr, sent: &str) -> String {
        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(sent.as_bytes()).await.expect("sent");
        let mut heard = Vec::new();
        tokio::time::timeout(Duration::from_secs(60), client.read_to_end(&mut heard))
            .await
            .expect("in time")
            .expect("read");
        String::from_utf8_lossy(&heard).into_owned()
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
    async fn whoever_keeps_the_server_waiting_makes_room() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (address, _stop, _server) = start(limits).await;
        let mut silent = TcpStream::connect(address).await.expect("connected");
        assert!(ask(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.ends_with("done"));
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or_default(), 0, "it is closed");
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
    async fn what_is_no_request_is_refused_in_words() {
        let (address, _stop, _server) = start(Limits::default()).await;
        let long = "x".repeat(LARGEST_HEAD);
        let many = "A: b\r\n".repeat(101);
        for (sent, status, code) in [
            ("GARBAGE\r\n\r\n".to_owned(), 400, "bad-request"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_owned(), 400, "bad-request"),
            (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "uri-too-long"),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}{long}{long}\r\n\r\n"), 431, "head-too-large"),
            (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, "head-too-large"),
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400, "host-wrong"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned(), 400, "host-wrong"),
        ] {
            let heard = ask(address, &sent).await;
            let shown = &sent[..sent.len().min(60)];
            assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {heard}");
            let (_, body) = heard.split_once("\r\n\r\n").expect("a body");
            let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{shown}: {heard}"));
            assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{shown}");
        }
        assert!(ask(address, "GET / HTTP/1.0\r\n\r\n").await.ends_with("done"), "HTTP/1.0 needs no Host");
    }

    #[tokio::test]
    async fn a_slow_body_and_a_client_that_reads_nothing_are_let_go() {
        let soon = Duration::from_millis(50);
        let limits = Limits { body: soon, stall: soon, keep_alive: false, ..Limits::default() };
        let (address, _stop, _server) = start(limits).await;
        let slow = ask(address, "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab").await;
        assert!(slow.starts_with("HTTP/1.1 400 "), "{slow}");
        let ignored = ask(address, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab").await;
        assert!(ignored.starts_with("HTTP/1.1 405 "), "{ignored}");
        let mut deaf = TcpStream::connect(address).await.expect("connected");
        deaf.write_all(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        // It writes on, and learns that nobody is there any more.
        let gone = async {
            while deaf.write_all(b"x").await.is_ok() {
                pause(soon).await
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it is held open");
    }

    #[tokio::test]
    async fn an_answer_reaches_a_client_that_is_still_sending() {
        let (address, _stop, _server) = start(Limits { keep_alive: false, ..Limits::default() }).await;
        let body = "x".repeat(900_000);
        let heard = ask(address, &format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n{body}")).await;
        assert!(heard.starts_with("HTTP/1.1 405 "), "{heard}");
        let waits = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 900000\r\n\r\n";
        assert!(ask(address, waits).await.starts_with("HTTP/1.1 405 "), "what was not asked for is not waited for");
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
