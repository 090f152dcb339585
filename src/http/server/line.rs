//! The line to a client: one that does not read its answer is let go, and what the HTTP library refuses by itself is said in
//! words.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use super::{LARGEST_HEAD, after};
use crate::http::problem::Problem;

/// A stream whose writes have to get on.
pub struct Line {
    stream: TcpStream,
    patience: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// A refusal of the HTTP library, in our words, as far as it is not sent.
    said: Bytes,
}

impl Line {
    /// `patience`: how long a client may take nothing of what is sent to it.
    pub fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, stalled: None, said: Bytes::new() }
    }

    /// What a write came to, unless the client has taken nothing for too long.
    fn patient<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| after(patience));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_said(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.said.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(context, &self.said);
            match self.patient(context, polled) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.said.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.said.is_empty()
            && let Some(words) = in_words(bytes)
        {
            self.said = words;
            return Poll::Ready(Ok(bytes.len()));
        }
        std::task::ready!(self.poll_said(context))?;
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patient(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_said(context))?;
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.patient(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_said(context))?;
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.patient(context, polled)
    }
}

/// hyper refuses what it cannot read without a body and without asking anybody; all our answers say `nosniff`.
fn in_words(answer: &[u8]) -> Option<Bytes> {
    let head = std::str::from_utf8(answer).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    if !head.ends_with("\r\n\r\n") || head.contains("x-content-type-options") {
        return None;
    }
    let problem = match status {
        "400" => Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "This is no request of HTTP/1.1 that can be read: its request line, a header, its length or its chunks are malformed.",
        ),
        "414" => Problem::new(
            StatusCode::URI_TOO_LONG,
            "uri-too-long",
            format!("The request's path and query are too long: its head may have at most {LARGEST_HEAD} bytes."),
        ),
        "431" => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head-too-large",
            format!("The request's head is too large: it may have at most {LARGEST_HEAD} bytes and 100 headers."),
        ),
        _ => return None,
    };
    Some(problem.on_the_wire())
}
