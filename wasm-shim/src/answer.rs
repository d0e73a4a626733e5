//! The body of an answer, and what its end means for the guest.
//!
//! Owns: when a guest is let go. Invariants: an answer whose guest did not get to its end is never sent as if it were whole; a client that
//! goes away before the answer was sent ends the guest; a client that wants no body (HEAD, 204, 304) does not: what the guest writes is
//! then thrown away. Never: answers of its own (`request`).

use crate::{replica::InFlight, watch::Busy};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::Notify;
use wasmtime_wasi_http::{Error, p2::body::HyperOutgoingBody};

/// What the guest, the two bodies and whoever waits for them share.
pub struct Exchange {
    pub taken: InFlight,
    /// The guest did not get to its end. Set before its store goes, with which the body's sending half goes.
    pub broken: AtomicBool,
    /// The guest goes on after its answer has begun.
    pub running: AtomicBool,
    /// The request's body was not HTTP.
    pub malformed: AtomicBool,
    /// Told when nobody takes the answer any more.
    pub gone: Notify,
}

impl Exchange {
    pub fn new(taken: InFlight) -> Arc<Self> {
        Arc::new(Self { taken, broken: AtomicBool::new(false), running: AtomicBool::new(false), malformed: AtomicBool::new(false), gone: Notify::new() })
    }
}

/// The body of an answer. The request counts as in flight until it was sent or dropped.
pub struct Answer {
    body: Inner,
    _busy: Busy,
}

enum Inner {
    Guest(GuestBody),
    Text(Full<Bytes>),
}

struct GuestBody {
    /// None once it was taken to be thrown away.
    body: Option<HyperOutgoingBody>,
    exchange: Arc<Exchange>,
    /// Bytes that `Content-Length` leaves: hyper does not ask for the end after them.
    left: Option<u64>,
    ended: bool,
    /// The protocol sends no body here, whatever the guest writes.
    unwanted: bool,
}

impl Answer {
    pub fn guest(body: HyperOutgoingBody, exchange: Arc<Exchange>, unwanted: bool, headers: &HeaderMap, busy: Busy) -> Self {
        let left = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { body: Inner::Guest(GuestBody { body: Some(body), exchange, left, ended: false, unwanted }), _busy: busy }
    }

    pub fn text(text: &'static str, busy: Busy) -> Self {
        Self { body: Inner::Text(Full::new(Bytes::from_static(text.as_bytes()))), _busy: busy }
    }
}

/// True when an answer to such a request, or with such a status, has no body.
pub fn has_no_body(head: bool, status: StatusCode) -> bool {
    head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// True for HEAD.
pub fn is_head(method: &Method) -> bool {
    method == Method::HEAD
}

impl GuestBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            None if self.exchange.broken.load(Ordering::SeqCst) => return Poll::Ready(Some(Err(Error::HttpResponseIncomplete))),
            None => self.ended = true,
            Some(Ok(frame)) if frame.is_trailers() => self.ended = true,
            Some(Ok(frame)) => {
                let sent = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                self.left = self.left.map(|left| left.saturating_sub(sent));
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        if self.ended || self.left == Some(0) || !self.exchange.running.load(Ordering::SeqCst) {
            return;
        }
        match self.body.take().filter(|_| self.unwanted) {
            Some(mut body) => {
                let exchange = self.exchange.clone();
                tokio::spawn(async move {
                    while let Some(Ok(_)) = body.frame().await {}
                    drop(exchange);
                });
            }
            None => self.exchange.gone.notify_one(),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.get_mut().body {
            Inner::Guest(body) => body.poll(cx),
            Inner::Text(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Inner::Guest(GuestBody { body: Some(body), .. }) => body.is_end_stream(),
            Inner::Guest(_) => true,
            Inner::Text(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Inner::Guest(GuestBody { body: Some(body), .. }) => body.size_hint(),
            Inner::Guest(_) => SizeHint::with_exact(0),
            Inner::Text(body) => body.size_hint(),
        }
    }
}

/// A request's body on its way to the guest: notices bytes that are not HTTP, so that the client learns that it was its fault.
pub struct Sent<B> {
    pub body: B,
    pub exchange: Arc<Exchange>,
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Body for Sent<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| {
                if is_malformed(&error) {
                    self.exchange.malformed.store(true, Ordering::SeqCst);
                }
                error.into()
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bad chunks and the like; a client that went away is another matter.
fn is_malformed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<std::io::Error>() {
            return matches!(cause.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData);
        }
        source = cause.source();
    }
    false
}
