//! One HTTP request: a permit, a fresh instance, the guest's answer.
//!
//! Owns: what a client gets when a guest does not answer (503 no room, 504 too slow, 500 trap), and how long an instance lives.
//! Invariants: an instance serves one request; its store is gone when the guest has returned, was cut, or its time was up, whichever is
//! first; a replica's permit is held until then, its place in the count also until the answer's body was sent. An answer whose guest did
//! not get to its end is never sent as if it were whole.

use crate::{
    command::reason,
    guest::ComponentGuest,
    limits::Limiter,
    linker::Linked,
    metered::{Metered, interrupt_by_epochs},
    replica::{InFlight, Replica},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::{
        bindings::{Proxy, http::types::ErrorCode, http::types::Scheme},
        body::HyperOutgoingBody,
    },
};
use wsw_api::log::Stream;

type GuestResponse = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// The replica was killed: the connection is cut.
#[derive(Debug, thiserror::Error)]
#[error("the task was killed")]
pub struct Cut;

/// Has one replica answer one request.
pub async fn serve(taken: InFlight, request: Request<Incoming>) -> Result<Response<Answer>, Cut> {
    let replica = taken.replica().clone();
    let deadline = Instant::now() + replica.task.spec.request_timeout;
    if !has_authority(&request) {
        return Ok(text(StatusCode::BAD_REQUEST, "the request names no host\n"));
    }
    let permit = match admit(&replica, deadline).await {
        Admission::Granted(permit) => permit,
        Admission::Full => return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait for this task\n")),
        Admission::Late => return Ok(too_late()),
        Admission::Cut => return Err(Cut),
    };
    let (send, mut response) = oneshot::channel();
    let exchange = Arc::new(Exchange { taken, broken: AtomicBool::new(false) });
    let mut guest = guest(exchange.clone(), request, send);
    // The guest first: most have answered and returned when they are polled for the first time, and neither a timer nor a task is needed.
    let early = tokio::select! {
        biased;
        ended = &mut guest => {
            note(&replica, &ended);
            return Ok(response.try_recv().map_or_else(|_| no_answer(), |response| answer(exchange, response)));
        }
        early = &mut response => early,
        () = replica.cut.cancelled() => return Err(Cut),
        () = tokio::time::sleep_until(deadline) => return Ok(late(&replica)),
    };
    match early {
        // The head is there, the guest still writes the body.
        Ok(response) => {
            let own = exchange.clone();
            tokio::spawn(async move {
                let _ = outlive(&own, guest, deadline).await;
                drop(permit);
            });
            Ok(answer(exchange, response))
        }
        // It gave the means to answer away and still runs.
        Err(_) => match outlive(&exchange, guest, deadline).await {
            Outcome::Ended => Ok(no_answer()),
            Outcome::Late => Ok(late(&replica)),
            Outcome::Cut => Err(Cut),
        },
    }
}

/// What the guest, its answer's body and whoever waits for them share.
pub struct Exchange {
    taken: InFlight,
    /// The guest did not get to its end. Set before its store goes, with which the body's sending half goes.
    broken: AtomicBool,
}

fn has_authority<B>(request: &Request<B>) -> bool {
    request.uri().authority().is_some() || request.headers().get(http::header::HOST).is_some_and(|host| host.to_str().is_ok())
}

enum Admission {
    Granted(OwnedSemaphorePermit),
    Full,
    Late,
    Cut,
}

/// Waits for a permit, with a bound on those who wait.
async fn admit(replica: &Replica, deadline: Instant) -> Admission {
    if let Ok(permit) = replica.instances.clone().try_acquire_owned() {
        return Admission::Granted(permit);
    }
    let waiting = Waiting::new(replica);
    if waiting.position >= usize::try_from(replica.task.spec.queue).unwrap_or(usize::MAX) {
        return Admission::Full;
    }
    tokio::select! {
        biased;
        permit = replica.instances.clone().acquire_owned() => permit.map_or(Admission::Cut, Admission::Granted),
        () = replica.cut.cancelled() => Admission::Cut,
        () = tokio::time::sleep_until(deadline) => Admission::Late,
    }
}

/// One place in the queue of a replica.
struct Waiting<'a> {
    replica: &'a Replica,
    position: usize,
}

impl<'a> Waiting<'a> {
    fn new(replica: &'a Replica) -> Self {
        Self { replica, position: replica.waiting.fetch_add(1, Ordering::SeqCst) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.replica.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The guest's future; not made in an `async fn`, which would keep room for it beside the box that it is in.
fn guest(exchange: Arc<Exchange>, request: Request<Incoming>, send: oneshot::Sender<GuestResponse>) -> Metered<impl Future<Output = wasmtime::Result<()>>> {
    let replica = exchange.taken.replica();
    let (ticker, cpu) = (replica.program.engines().ticker().clone(), replica.task.cpu.clone());
    Metered::new(run(exchange, request, send), ticker, cpu)
}

/// The guest's part of a request.
async fn run(exchange: Arc<Exchange>, request: Request<Incoming>, send: oneshot::Sender<GuestResponse>) -> wasmtime::Result<()> {
    let replica = exchange.taken.replica();
    let program = &replica.program;
    let (mut store, proxy) = match instantiate(replica, program.pooled()).await {
        Err(error) if error.is::<PoolConcurrencyLimitError>() => instantiate(replica, program.on_demand()).await?,
        other => other?,
    };
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let out = store.data_mut().http().new_response_outparam(send)?;
    let ended = proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await;
    exchange.broken.fetch_or(ended.is_err(), Ordering::SeqCst);
    ended
}

async fn instantiate(replica: &Replica, linked: Result<&Linked, crate::modules::Error>) -> wasmtime::Result<(Store<ComponentGuest>, Proxy)> {
    let Linked::Http(pre) = linked? else {
        return Err(wasmtime::format_err!("a command is not run as a server"));
    };
    let task = &replica.task;
    let (stdout, stderr) = (task.sink.stream(Stream::Stdout), task.sink.stream(Stream::Stderr));
    let mut store = Store::new(pre.engine(), ComponentGuest::new(&task.spec.identity, stdout, stderr, Limiter::new(task.memory.clone())));
    store.limiter(|guest| &mut guest.limiter);
    interrupt_by_epochs(&mut store);
    let proxy = pre.instantiate_async(&mut store).await?;
    Ok((store, proxy))
}

enum Outcome {
    Ended,
    Late,
    Cut,
}

/// Polls a guest on until it ends or has to.
async fn outlive<F: Future<Output = wasmtime::Result<()>> + Unpin>(exchange: &Exchange, mut guest: F, deadline: Instant) -> Outcome {
    let replica = exchange.taken.replica();
    let outcome = tokio::select! {
        biased;
        ended = &mut guest => {
            note(replica, &ended);
            return Outcome::Ended;
        }
        () = replica.cut.cancelled() => Outcome::Cut,
        () = tokio::time::sleep_until(deadline) => {
            replica.task.sink.note("wsw: a request was cut: its time was up");
            Outcome::Late
        }
    };
    exchange.broken.store(true, Ordering::SeqCst);
    outcome
}

/// A guest that traps ends its request only; its task's log says so.
fn note(replica: &Replica, ended: &wasmtime::Result<()>) {
    if let Err(error) = ended {
        replica.task.sink.note(&format!("wsw: a request failed: {}", reason(error)));
    }
}

fn answer(exchange: Arc<Exchange>, response: GuestResponse) -> Response<Answer> {
    match response {
        Ok(response) => response.map(|body| Answer::Guest { body, exchange }),
        Err(code) => {
            exchange.taken.replica().task.sink.note(&format!("wsw: a request failed: the guest answered {code:?}"));
            text(StatusCode::INTERNAL_SERVER_ERROR, "the guest answered with an error\n")
        }
    }
}

fn no_answer() -> Response<Answer> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "the guest did not answer\n")
}

fn too_late() -> Response<Answer> {
    text(StatusCode::GATEWAY_TIMEOUT, "the guest did not answer in time\n")
}

fn late(replica: &Replica) -> Response<Answer> {
    replica.task.sink.note("wsw: a request failed: its time was up");
    too_late()
}

/// An answer of the shim's own.
pub fn text(status: StatusCode, body: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::Text(Full::new(Bytes::from_static(body.as_bytes()))));
    *response.status_mut() = status;
    response
}

/// The body of an answer.
pub enum Answer {
    /// Counts as in flight until it was sent.
    Guest {
        body: HyperOutgoingBody,
        exchange: Arc<Exchange>,
    },
    Text(Full<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Guest { body, exchange } => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(None) if exchange.broken.load(Ordering::SeqCst) => Poll::Ready(Some(Err(Self::Error::HttpResponseIncomplete))),
                other => other,
            },
            Self::Text(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Guest { body, .. } => body.is_end_stream(),
            Self::Text(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Guest { body, .. } => body.size_hint(),
            Self::Text(body) => body.size_hint(),
        }
    }
}
