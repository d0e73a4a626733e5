//! Servers: services in this shim, their ready replicas, and which one takes a request.
//!
//! Owns: readiness and the count of requests in flight. Invariants: a request goes to a ready replica with the fewest in flight, in turn
//! among equals; a replica that drains gets no new one; its task ends when its last one has been answered. When a service has no ready
//! replica left, its connections are told to close and new ones are not taken; the last one answers what still comes on those that were
//! taken before, so that no request is lost between a connection's hand-over and its first bytes.

use crate::{
    modules::Program,
    queue::Queue,
    task::{Stop, Task},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wsw_api::{id::ServiceId, shim::ExitReport};

/// One task of a server: a budget of concurrent requests.
pub struct Replica {
    pub task: Arc<Task>,
    pub program: Arc<Program>,
    /// Who may have an instance.
    pub queue: Queue,
    /// Cuts what is in flight.
    pub cut: CancellationToken,
    in_flight: AtomicUsize,
    idle: Notify,
}

impl Replica {
    pub fn new(task: Arc<Task>, program: Arc<Program>) -> Arc<Self> {
        let queue = Queue::new(task.spec.max_instances, task.spec.queue);
        Arc::new(Self { task, program, queue, cut: CancellationToken::new(), in_flight: AtomicUsize::new(0), idle: Notify::new() })
    }

    async fn idle(&self) {
        loop {
            let told = self.idle.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            told.await;
        }
    }
}

/// A request that a replica has taken; dropped when it is answered.
pub struct InFlight(Arc<Replica>);

impl InFlight {
    fn new(replica: Arc<Replica>) -> Self {
        replica.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(replica)
    }

    pub const fn replica(&self) -> &Arc<Replica> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// How long the last replica of a service waits for its connections to end. One that has sent no request yet gets the time of
/// [`crate::connection::FIRST_REQUEST`].
const LAST_REQUESTS: Duration = Duration::from_millis(1_500);

/// The ready replicas of one service.
#[derive(Default)]
pub struct Service {
    ready: RwLock<Vec<Arc<Replica>>>,
    turn: AtomicUsize,
    /// The one that was ready last, while connections may still bring it requests.
    last: Mutex<Option<Arc<Replica>>>,
    /// Connections that were taken and have not ended.
    visits: AtomicUsize,
    left: Notify,
    /// No ready replica is left: connections end after the answer that they are sending.
    pub closing: CancellationToken,
}

/// A connection of the service, until it is dropped.
pub struct Visit(Arc<Service>);

impl Visit {
    pub const fn service(&self) -> &Arc<Service> {
        &self.0
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.0.visits.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

impl Service {
    /// For a request that comes when no replica is ready any more.
    pub fn pick_last(&self) -> Option<InFlight> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone().map(InFlight::new)
    }

    /// Waits for the connections to end; afterwards nothing comes any more.
    async fn deserted(&self) {
        let waiting = async {
            loop {
                let told = self.left.notified();
                if self.visits.load(Ordering::SeqCst) == 0 {
                    return;
                }
                told.await;
            }
        };
        // Those that say nothing are not waited for.
        let _ = tokio::time::timeout(LAST_REQUESTS, waiting).await;
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The replica for the next request.
    pub fn pick(&self) -> Option<InFlight> {
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (before, after) = ready.split_at(turn.checked_rem(ready.len())?);
        let load = |replica: &&Arc<Replica>| replica.in_flight.load(Ordering::Relaxed);
        // `min_by_key` keeps the first of equals: the one whose turn it is. Counted while the lock is held, so that draining sees it.
        after.iter().chain(before).min_by_key(load).map(|replica| InFlight::new(replica.clone()))
    }
}

/// All services with a ready replica here.
#[derive(Default)]
pub struct Services {
    services: Mutex<HashMap<ServiceId, Arc<Service>>>,
}

impl Services {
    /// The service, if it has a ready replica.
    pub fn get(&self, id: &ServiceId) -> Option<Arc<Service>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Takes a connection of the service, if it has a ready replica. Counted while the lock is held, so that draining sees it.
    pub fn visit(&self, id: &ServiceId) -> Option<Visit> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services.get(id)?.clone();
        service.visits.fetch_add(1, Ordering::SeqCst);
        Some(Visit(service))
    }

    /// From now on the replica gets requests.
    pub fn add(&self, id: ServiceId, replica: Arc<Replica>) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.entry(id).or_default().ready.write().unwrap_or_else(PoisonError::into_inner).push(replica);
    }

    /// From now on it gets none; answers the service when it was its last one.
    pub fn remove(&self, id: &ServiceId, replica: &Arc<Replica>) -> Option<Arc<Service>> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services.get(id)?;
        let mut ready = service.ready.write().unwrap_or_else(PoisonError::into_inner);
        ready.retain(|other| !Arc::ptr_eq(other, replica));
        if !ready.is_empty() {
            return None;
        }
        *service.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(replica.clone());
        drop(ready);
        let service = services.remove(id)?;
        service.closing.cancel();
        Some(service)
    }
}

async fn drain(emptied: Option<&Service>, replica: &Replica) {
    if let Some(service) = emptied {
        service.deserted().await;
    }
    replica.idle().await;
}

/// The life of a server's task from when it is ready: waits for the end, drains, finishes.
pub async fn run(services: Arc<Services>, service: ServiceId, replica: Arc<Replica>) {
    let stop = replica.task.stopped().await;
    let emptied = services.remove(&service, &replica);
    let drain = drain(emptied.as_deref(), &replica);
    let drained = match stop {
        Stop::Kill => false,
        Stop::Ask(_) => tokio::select! {
            biased;
            () = drain => true,
            () = replica.task.killed() => false,
        },
    };
    let report = match drained {
        true => ExitReport { code: 0, reason: None, ran: true },
        false => ExitReport { code: Stop::Kill.code(), reason: None, ran: true },
    };
    if let Some(service) = &emptied {
        service.last.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
    replica.cut.cancel();
    replica.task.finish(report).await;
}
