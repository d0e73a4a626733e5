//! The body of an answer, and what its end means for the guest.
//!
//! Owns: when a guest is let go, and its place. Invariants: an answer whose guest did not get to its end, or wrote less than its head says, is
//! never sent as if it were whole; one whose guest has ended before its head was sent is looked through first. A client that goes away before
//! the answer was sent ends the guest; a client that wants no body (HEAD, 204, 304) does not: what the guest writes is then thrown away.
//! Never: answers of its own (`request`).

use crate::{limits::Unsent, replica::InFlight, watch::Busy};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::{Notify, OwnedSemaphorePermit};
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
    place: Mutex<Place>,
}

/// What a request holds of its replica until the guest has ended and the answer was sent.
enum Place {
    /// One of the instances.
    Instance(#[allow(dead_code, reason = "given back by its drop")] OwnedSemaphorePermit),
    /// Room for what is left to be sent: the guest is gone.
    Unsent(#[allow(dead_code, reason = "given back by its drop")] Unsent),
}

impl Exchange {
    pub fn new(taken: InFlight, permit: OwnedSemaphorePermit) -> Arc<Self> {
        Arc::new(Self {
            taken,
            broken: AtomicBool::new(false),
            running: AtomicBool::new(false),
            malformed: AtomicBool::new(false),
            gone: Notify::new(),
            place: Mutex::new(Place::Instance(permit)),
        })
    }

    /// The guest is gone, and this much of its answer may be unsent: its instance is free for another request if the task has room for that.
    pub fn guest_ended(&self, unsent: usize) {
        let unsent = u64::try_from(unsent).unwrap_or(u64::MAX);
        if let Some(unsent) = self.taken.replica().task.memory.unsent(unsent) {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Place::Unsent(unsent);
        }
    }
}

/// The body of an answer. The request counts as in flight until it was sent or dropped.
pub struct Answer {
    body: Inner,
    _busy: Busy,
}

enum Inner {
    Guest(GuestBody),
    Whole(Whole),
    Text(Full<Bytes>),
}

/// All that a guest wrote which has ended.
struct Whole {
    frames: VecDeque<Frame<Bytes>>,
    /// Some of it was given away, or there is no body: only then its end is told, so that the framing is that of an answer which is still written.
    begun: bool,
    _exchange: Arc<Exchange>,
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
        Self { body: Inner::Guest(GuestBody { body: Some(body), exchange, left: length(headers), ended: false, unwanted }), _busy: busy }
    }

    /// The answer of a guest that has ended. `bare`: it has no body, not even an empty one.
    pub fn whole(frames: VecDeque<Frame<Bytes>>, bare: bool, exchange: Arc<Exchange>, busy: Busy) -> Self {
        exchange.guest_ended(frames.iter().map(size).sum());
        Self { body: Inner::Whole(Whole { frames, begun: bare, _exchange: exchange }), _busy: busy }
    }

    pub fn text(text: &'static str, busy: Busy) -> Self {
        Self { body: Inner::Text(Full::new(Bytes::from_static(text.as_bytes()))), _busy: busy }
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn size(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

/// All that a guest wrote which has ended; none when that is less than an answer with this head has.
pub fn written(mut body: HyperOutgoingBody, unwanted: bool, headers: &HeaderMap) -> Option<VecDeque<Frame<Bytes>>> {
    let (mut frames, mut left) = (VecDeque::new(), length(headers));
    if unwanted {
        return Some(frames);
    }
    while left != Some(0) {
        // The sending half went with the guest's store, so nothing has to be waited for; nor may the runtime's budget make it look so.
        let next = tokio::task::unconstrained(body.frame()).now_or_never()?;
        match next.transpose() {
            Ok(Some(frame)) => {
                left = left.map(|left| left.saturating_sub(u64::try_from(size(&frame)).unwrap_or(u64::MAX)));
                frames.push_back(frame);
            }
            Ok(None) => return left.is_none().then_some(frames),
            Err(_) => return None,
        }
    }
    Some(frames)
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
            None if self.exchange.broken.load(Ordering::SeqCst) || self.left.is_some_and(|left| left > 0) => {
                return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
            }
            None => self.ended = true,
            Some(Ok(frame)) if frame.is_trailers() => self.ended = true,
            Some(Ok(frame)) => {
                let sent = u64::try_from(size(frame)).unwrap_or(u64::MAX);
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
            Inner::Whole(whole) => {
                whole.begun = true;
                Poll::Ready(whole.frames.pop_front().map(Ok))
            }
            Inner::Text(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Inner::Guest(GuestBody { body: Some(body), .. }) => body.is_end_stream(),
            Inner::Guest(_) => true,
            Inner::Whole(whole) => whole.begun && whole.frames.is_empty(),
            Inner::Text(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Inner::Guest(GuestBody { body: Some(body), .. }) => body.size_hint(),
            Inner::Guest(_) => SizeHint::with_exact(0),
            Inner::Whole(_) => SizeHint::default(),
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
