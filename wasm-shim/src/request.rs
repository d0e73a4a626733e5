//! One HTTP request: a permit, a fresh instance, the guest's answer.
//!
//! Owns: what a client gets when a guest does not answer (503 no room, 504 too slow, 500 trap or half an answer), and how long an instance
//! lives. Invariants: an instance serves one request; its store is gone when the guest has returned, was cut, its time was up, or its client
//! went away, whichever is first; a replica's permit is held until then (until its answer was sent, when the task has no room for that), its
//! place in the count also until the answer's body was sent. Requests that wait for a permit are served in the order in which they came.

use crate::{
    answer::{self, Answer, Exchange, Sent},
    command::reason,
    guest::{ComponentGuest, MAX_QUEUED},
    linker::Linked,
    metered::{Metered, interrupt_by_epochs},
    queue::Admission,
    replica::{InFlight, Replica},
    watch::Busy,
};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::{
        bindings::{Proxy, http::types::ErrorCode, http::types::Scheme},
        body::HyperOutgoingBody,
    },
};

/// When a client that was turned away for want of room may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// How long the start of a service's first replica waits for an instance: it takes a few milliseconds, and a guest may spin in it.
const WARM_FOR: Duration = Duration::from_millis(100);

type GuestResponse = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// The replica was killed: the connection is cut.
#[derive(Debug, thiserror::Error)]
#[error("the task was killed")]
pub struct Cut;

/// Has one replica answer one request.
pub async fn serve(taken: InFlight, request: Request<Incoming>, busy: Busy) -> Result<Response<Answer>, Cut> {
    let replica = taken.replica().clone();
    let deadline = Instant::now() + replica.task.spec.request_timeout;
    let permit = match replica.queue.admit(deadline, &replica.cut, || busy.look_out()).await {
        Admission::Granted(permit) => permit,
        Admission::Full => return Ok(unavailable("too many requests wait for this task\n", busy)),
        Admission::Late => return Ok(too_late(busy)),
        Admission::Cut => return Err(Cut),
    };
    let (send, mut response) = oneshot::channel();
    let exchange = Exchange::new(taken, permit);
    let reply = Reply { exchange: exchange.clone(), head: answer::is_head(request.method()), busy };
    let mut guest = guest(exchange.clone(), request, send);
    // The guest first: most have answered and returned when they are polled for the first time, and neither a timer nor a task is needed.
    let early = tokio::select! {
        biased;
        ended = &mut guest => {
            note(&replica, &ended);
            return Ok(match response.try_recv() {
                Ok(response) => reply.answer(response, true),
                Err(_) => reply.none(),
            });
        }
        early = &mut response => early,
        () = replica.cut.cancelled() => return Err(Cut),
        () = tokio::time::sleep_until(deadline) => return Ok(late(&replica, reply.busy)),
        () = look_out(&reply.busy) => return Err(Cut),
    };
    match early {
        // The head is there, the guest still writes the body.
        Ok(response) => {
            exchange.running.store(true, Ordering::SeqCst);
            reply.busy.look_out();
            tokio::spawn(async move {
                let _ = outlive(&exchange, guest, deadline).await;
                exchange.running.store(false, Ordering::SeqCst);
                exchange.guest_ended(MAX_QUEUED);
            });
            Ok(reply.answer(response, false))
        }
        // It gave the means to answer away and still runs.
        Err(_) => match outlive(&exchange, guest, deadline).await {
            Outcome::Ended => Ok(reply.none()),
            Outcome::Late => Ok(late(&replica, reply.busy)),
            Outcome::Cut | Outcome::Gone => Err(Cut),
        },
    }
}

/// Never ends: from its first poll on, which only a request has that takes a while, the connection does when the client goes.
async fn look_out(busy: &Busy) {
    busy.look_out();
    std::future::pending().await
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
    let request = request.map(|body| Sent { body, exchange: exchange.clone() });
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
    let mut store = Store::new(pre.engine(), ComponentGuest::new(&replica.task));
    store.limiter(|guest| &mut guest.limiter);
    interrupt_by_epochs(&mut store);
    let proxy = pre.instantiate_async(&mut store).await?;
    Ok((store, proxy))
}

/// Makes an instance and drops it: what only the first one costs (pages of code, the image of the memory) is paid before a request comes.
/// Whatever goes wrong shows again with the request.
pub async fn warm(replica: Arc<Replica>) {
    let (ticker, cpu, cut) = (replica.program.engines().ticker().clone(), replica.task.cpu.clone(), replica.clone());
    let instance = async move { instantiate(&replica, replica.program.pooled()).await.map(drop) };
    tokio::select! {
        made = tokio::time::timeout(WARM_FOR, Metered::new(instance, ticker, cpu)) => match made {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(task = cut.task.id, "not warmed: {error:#}"),
            Err(_) => tracing::debug!(task = cut.task.id, "not warmed in time"),
        },
        () = cut.task.killed() => {}
    }
}

enum Outcome {
    Ended,
    Late,
    Cut,
    Gone,
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
        () = exchange.gone.notified() => Outcome::Gone,
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

/// What an answer is made from.
struct Reply {
    exchange: Arc<Exchange>,
    head: bool,
    busy: Busy,
}

impl Reply {
    /// The guest's answer, unless it cannot be one. `ended`: the guest has, so all of it is here.
    fn answer(self, response: GuestResponse, ended: bool) -> Response<Answer> {
        let task = &self.exchange.taken.replica().task;
        if self.exchange.malformed.load(Ordering::SeqCst) {
            return closing(StatusCode::BAD_REQUEST, MALFORMED, self.busy);
        }
        let response = match response {
            Ok(response) => response,
            Err(code) => {
                task.sink.note(&format!("wsw: a request failed: the guest answered {code:?}"));
                return text(StatusCode::INTERNAL_SERVER_ERROR, "the guest answered with an error\n", self.busy);
            }
        };
        if response.status().is_informational() {
            task.sink.note(&format!("wsw: a request failed: the guest answered {}, which is not a final answer", response.status()));
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the guest answered with a status that is not final\n", self.busy);
        }
        let (parts, body) = response.into_parts();
        let unwanted = answer::has_no_body(self.head, parts.status);
        if ended {
            let bare = body.is_end_stream();
            let frames = if self.exchange.broken.load(Ordering::SeqCst) { None } else { answer::written(body, unwanted, &parts.headers) };
            return match frames {
                Some(frames) => Response::from_parts(parts, Answer::whole(frames, bare, self.exchange, self.busy)),
                None => {
                    task.sink.note("wsw: a request failed: the guest ended before its answer was whole");
                    text(StatusCode::INTERNAL_SERVER_ERROR, "the guest's answer is not whole\n", self.busy)
                }
            };
        }
        let body = Answer::guest(body, self.exchange, unwanted, &parts.headers, self.busy);
        Response::from_parts(parts, body)
    }

    /// The guest ended without one.
    fn none(self) -> Response<Answer> {
        match self.exchange.malformed.load(Ordering::SeqCst) {
            true => closing(StatusCode::BAD_REQUEST, MALFORMED, self.busy),
            false => text(StatusCode::INTERNAL_SERVER_ERROR, "the guest did not answer\n", self.busy),
        }
    }
}

const MALFORMED: &str = "the request's body is not valid HTTP\n";

fn too_late(busy: Busy) -> Response<Answer> {
    text(StatusCode::GATEWAY_TIMEOUT, "the guest did not answer in time\n", busy)
}

fn late(replica: &Replica, busy: Busy) -> Response<Answer> {
    replica.task.sink.note("wsw: a request failed: its time was up");
    too_late(busy)
}

/// An answer of the shim's own.
pub fn text(status: StatusCode, text: &'static str, busy: Busy) -> Response<Answer> {
    let mut response = Response::new(Answer::text(text, busy));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The same, for a client that may try again soon.
pub fn unavailable(what: &'static str, busy: Busy) -> Response<Answer> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, what, busy);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

/// Both: the connection ends, and the client may try on another.
pub fn closing_for_now(what: &'static str, busy: Busy) -> Response<Answer> {
    let mut response = closing(StatusCode::SERVICE_UNAVAILABLE, what, busy);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

/// An answer of the shim's own, and the last of its connection: what follows cannot be trusted to be a request. HTTP/2 has no such header and no such need.
pub fn closing(status: StatusCode, what: &'static str, busy: Busy) -> Response<Answer> {
    let close = !busy.is_framed();
    let mut response = text(status, what, busy);
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
