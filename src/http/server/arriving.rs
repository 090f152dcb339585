//! A request's body on its way in: it has a time to be there, and what nobody reads of it is taken off the line before the
//! answer, so that the client gets to read why.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::{after, crowd::Place};

/// What is read of a body that nobody wants, in bytes. Behind it the connection is cut off.
const DRAINED: usize = 1024 * 1024;

/// The rest of a body, once its reader has let go of it.
pub type Rest = Arc<Mutex<Option<(Incoming, Pin<Box<Sleep>>)>>>;

/// The body of a request.
pub struct Arriving {
    body: Option<Incoming>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The client sends its body once it is read from (`Expect: 100-continue`).
    waits_to_be_asked: bool,
    place: Arc<Place>,
    rest: Rest,
}

impl Arriving {
    /// A body that has `time` to arrive, and where its rest is found once it was dropped.
    pub fn new(body: Incoming, time: Duration, waits_to_be_asked: bool, place: Arc<Place>) -> (Self, Rest) {
        let rest = Rest::default();
        place.connection.set_working(body.is_end_stream());
        let (body, deadline) = (Some(body), Some(after(time)));
        (Self { body, deadline, waits_to_be_asked, place, rest: Arc::clone(&rest) }, rest)
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        this.waits_to_be_asked = false;
        let (Some(body), Some(deadline)) = (&mut this.body, &mut this.deadline) else { return Poll::Ready(None) };
        let polled = match Pin::new(body).poll_frame(context) {
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(io::Error::other)),
            Poll::Pending if deadline.as_mut().poll(context).is_ready() => {
                Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the body was too slow")))
            }
            Poll::Pending => return Poll::Pending,
        };
        if !matches!(polled, Some(Ok(_))) {
            this.place.connection.set_working(true);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let (Some(body), Some(deadline)) = (self.body.take(), self.deadline.take())
            && !(self.waits_to_be_asked || body.is_end_stream())
        {
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some((body, deadline));
        }
    }
}

/// Reads what was not wanted, within the body's time and [`DRAINED`]: an answer before it would be lost with the connection.
pub async fn drain(rest: &Rest) {
    let Some((mut body, deadline)) = rest.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let draining = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DRAINED {
                break;
            }
        }
    };
    tokio::select! {
        () = draining => {}
        () = deadline => {}
    }
}
