//! The sandbox on HTTP, for boto3, the AWS CLI and whatever else speaks AWS.

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{Sandbox, frame::Reply};

/// A client that has not sent its headers by then is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// A client that has not sent its body by then is let go.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// After shutdown, calls in flight get this long.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failed accept (usually: out of file descriptors), this long until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// Larger than the largest request of any emulated operation.
const LARGEST_BODY: usize = 1024 * 1024;

/// Why a connection ends without an answer.
#[derive(Debug)]
struct ReplyLost;

impl fmt::Display for ReplyLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reply was lost on purpose")
    }
}

impl std::error::Error for ReplyLost {}

impl Sandbox {
    /// Serves HTTP/1.1 until `shutdown` resolves, then lets calls in flight end. A lost reply closes the connection.
    ///
    /// # Errors
    /// The listener has no address any more; a connection that fails ends alone.
    pub async fn listen(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        listener.local_addr()?;
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((listener.accept().await?.0, slot))
            };
            tokio::select! {
                accepted = next => match accepted {
                    Ok((stream, slot)) => self.serve(stream, slot, &graceful),
                    Err(error) => {
                        tracing::warn!(error = %error, "sandbox: a connection could not be accepted");
                        pause(ACCEPT_PAUSE).await;
                    }
                },
                () = &mut shutdown => break,
            }
        }
        drop(listener);
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("sandbox: connections were still open at the end");
        }
        Ok(())
    }

    fn serve(&self, stream: TcpStream, slot: OwnedSemaphorePermit, graceful: &GracefulShutdown) {
        let sandbox = self.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let sandbox = sandbox.clone();
            async move { sandbox.serve_one(request).await.map(|response| response.map(Full::new)) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "sandbox: a connection ended early");
            }
            drop(slot);
        });
    }

    async fn serve_one(&self, request: http::Request<Incoming>) -> Result<http::Response<Bytes>, ReplyLost> {
        let (parts, body) = request.into_parts();
        let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Ok(refused(http::StatusCode::PAYLOAD_TOO_LARGE)),
            Err(_) => return Ok(refused(http::StatusCode::REQUEST_TIMEOUT)),
        };
        match self.reply(http::Request::from_parts(parts, body)).await {
            Reply::Answered(response) => Ok(response),
            Reply::Lost => Err(ReplyLost),
        }
    }
}

fn refused(status: http::StatusCode) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// Waits in wall time, also where sandbox time runs faster: what is waited for here is outside the emulated cloud.
pub(super) async fn pause(duration: Duration) {
    let forever = std::future::pending::<Infallible>();
    let _ = tokio::time::timeout(duration, forever).await;
}
