//! What a task's guests may do with the network.
//!
//! ```text
//! guest ── wasi:sockets ──► sockets (binds rewritten) ──► wasmtime-wasi ──► check ──► kernel
//!      ── ip-name-lookup ─► lookup ──► resolver (threads) ──► names: which address was answered for which name
//!      ── wasi:http out ──► http (own client, TLS) ──► the same check, the same names
//! client ── daemon ── hand-over ──► relay ──► the task's real port on loopback      (listeners: who listens)
//! ```
//! Owns: [`TaskNet`], the permissions of one task. Invariants: nothing leaves but what `wsw_api::outbound` allows, and the address that was
//! judged is the one connected; nothing enters but through our own relays and flows, although the real ports are the machine's loopback
//! ports: another local process is dropped at `accept`, its datagrams before the guest sees them. A refusal is told in the task's log.

pub mod http;
pub mod listeners;
pub mod lookup;
mod names;
mod own;
mod proxy;
pub mod relay;
pub mod resolver;
pub mod sockets;
#[cfg(test)]
mod tests;
mod tls;

use crate::{
    quota::{Permit, TaskQuota},
    stdio::Sink,
};
use names::Names;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, Semaphore};
use wasmtime_wasi::sockets::SocketAddrUse;
use wsw_api::{
    id::ServiceId,
    outbound::Outbound,
    shim::{Listen, Network},
    spec::Protocol,
};

/// Look-ups of one task that are under way or wait.
const MAX_LOOKUPS: usize = 16;
/// Refused targets that are told of one task within [`NOTE_AGAIN`]; more are silent.
const MAX_NOTES: usize = 64;
/// A target that is refused again is told again after this.
const NOTE_AGAIN: Duration = Duration::from_secs(600);
/// Flows of datagrams that a task knows: what the ingress keeps on the node.
const MAX_FLOWS: usize = 4_096;
/// The ingress forgets a flow after 60 s of silence; here it lives a little longer.
const FLOW_IDLE: Duration = Duration::from_secs(120);

/// What the tasks of a shim share.
pub struct Shared {
    resolver: resolver::Resolver,
    own: own::Own,
    tls: tls::Tls,
    pub listeners: Arc<listeners::Listeners>,
    /// Whether `::1` can be bound here.
    ipv6: bool,
}

impl Shared {
    /// Reads what is read once: certificates, whether there is IPv6. Called before files are closed to the process.
    pub fn new(network: Network) -> Arc<Self> {
        let ipv6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
        // A shim without a network will not need them.
        let tls = if network == Network::Inet { tls::Tls::load() } else { tls::Tls::none() };
        Arc::new(Self { resolver: resolver::Resolver::system(), own: own::Own::new(), tls, listeners: Arc::default(), ipv6 })
    }
}

/// What a bundle says about a task's network.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NetSpec {
    pub service: Option<ServiceId>,
    pub outbound: Outbound,
    pub listen: Listen,
    pub proxy_protocol: bool,
}

/// The network as one task has it; shared by its instances.
pub struct TaskNet {
    spec: NetSpec,
    shared: Arc<Shared>,
    sink: Sink,
    names: Mutex<Names>,
    notes: Mutex<BTreeMap<String, Instant>>,
    quota: TaskQuota,
    lookups: Arc<Semaphore>,
    /// Local ends of our relays to this task.
    relays: Mutex<BTreeSet<SocketAddr>>,
    flows: Mutex<BTreeMap<SocketAddr, Instant>>,
    /// Relays that were promised a place, with and without a connection yet.
    active: AtomicUsize,
    idle: Notify,
    draining: std::sync::atomic::AtomicBool,
}

/// Why a name was not looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("not allowed")]
    Denied,
    #[error("not a host name")]
    Invalid,
    #[error("too many look-ups")]
    Busy,
    #[error("the look-up took too long")]
    Late,
    #[error("{0}")]
    Failed(String),
}

impl TaskNet {
    pub fn new(spec: NetSpec, shared: Arc<Shared>, sink: Sink, quota: TaskQuota) -> Arc<Self> {
        Arc::new(Self {
            spec,
            shared,
            sink,
            names: Mutex::default(),
            notes: Mutex::default(),
            quota,
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            relays: Mutex::default(),
            flows: Mutex::default(),
            active: AtomicUsize::new(0),
            idle: Notify::new(),
            draining: false.into(),
        })
    }

    /// A place for one more socket.
    pub fn socket(&self) -> Option<Permit> {
        self.quota.socket().ok()
    }

    /// The addresses of a name, if it may be looked up; they are remembered as this name's.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        if !resolver::is_name(name) {
            return Err(LookupError::Invalid);
        }
        if !self.spec.outbound.resolves(name) {
            self.refused(name);
            return Err(LookupError::Denied);
        }
        let _one = self.lookups.try_acquire().map_err(|_| LookupError::Busy)?;
        let found = self.shared.resolver.resolve(name).await?;
        lock(&self.names).remember(name, &found, Instant::now());
        Ok(found)
    }

    /// Whether a guest may send to this address; no is told in the log.
    pub fn may_reach(&self, target: SocketAddr) -> bool {
        let allowed = self.is_allowed(target);
        if !allowed {
            self.refused(&target.to_string());
        }
        allowed
    }

    fn is_allowed(&self, target: SocketAddr) -> bool {
        let (address, port) = (target.ip(), target.port());
        let names = lock(&self.names).of(address, Instant::now());
        let judge = |own| {
            let outbound = &self.spec.outbound;
            outbound.allows(None, address, port, own) || names.iter().any(|name| outbound.allows(Some(name), address, port, own))
        };
        // Whether it is an address of the node costs a socket: asked only where it matters.
        judge(true) || (judge(false) && !self.shared.own.is_own(address))
    }

    /// wasmtime-wasi asks this before each step; binds have been rewritten by `sockets` when they come here.
    fn check(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        match purpose {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => address.port() == 0,
            SocketAddrUse::TcpListen => address.ip().is_loopback(),
            SocketAddrUse::TcpAccept => lock(&self.relays).contains(&canonical(address)),
            SocketAddrUse::TcpConnect => self.may_reach(address),
            SocketAddrUse::UdpSend => self.is_flow(address) || self.may_reach(address),
            // Unasked-for datagrams are no news.
            SocketAddrUse::UdpReceive => self.is_flow(address) || self.is_allowed(address),
        }
    }

    /// The sockets of a guest's context.
    pub fn permit(self: &Arc<Self>, builder: &mut wasmtime_wasi::WasiCtxBuilder) {
        let net = self.clone();
        builder.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, purpose| {
            let allowed = net.check(address, purpose);
            Box::pin(std::future::ready(allowed))
        });
    }

    /// One more flow of datagrams that comes from `address`.
    pub fn add_flow(&self, address: SocketAddr) {
        let (mut flows, now) = (lock(&self.flows), Instant::now());
        if flows.len() >= MAX_FLOWS {
            flows.retain(|_, used| now.duration_since(*used) < FLOW_IDLE);
        }
        if flows.len() >= MAX_FLOWS
            && let Some(oldest) = flows.iter().min_by_key(|(_, used)| **used).map(|(address, _)| *address)
        {
            flows.remove(&oldest);
        }
        flows.insert(canonical(address), now);
    }

    fn is_flow(&self, address: SocketAddr) -> bool {
        let (mut flows, now) = (lock(&self.flows), Instant::now());
        match flows.get_mut(&canonical(address)) {
            Some(used) if now.duration_since(*used) < FLOW_IDLE => {
                *used = now;
                true
            }
            _ => false,
        }
    }

    /// No new connections from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Ends when no connection is being relayed to the task.
    pub async fn idle(&self) {
        loop {
            let told = self.idle.notified();
            if self.active.load(Ordering::SeqCst) == 0 {
                return;
            }
            told.await;
        }
    }

    fn refused(&self, target: &str) {
        self.note(target, || format!("wsw: {target} was refused: to allow it, add it to the label {} of the service", wsw_api::labels::ALLOW_OUTBOUND));
    }

    fn refused_to_listen(&self, protocol: Protocol, address: SocketAddr) {
        let (port, protocol) = (address.port(), protocol.as_str());
        self.note(&format!("{protocol} {address}"), || {
            format!("wsw: listening on {address}/{protocol} was refused: publish the port, such as -p 8080:{port}/{protocol}, and bind it on 0.0.0.0 or [::]")
        });
    }

    fn note(&self, about: &str, text: impl FnOnce() -> String) {
        let (mut notes, now) = (lock(&self.notes), Instant::now());
        if notes.get(about).is_some_and(|told| now.duration_since(*told) < NOTE_AGAIN) {
            return;
        }
        if notes.len() >= MAX_NOTES {
            notes.retain(|_, told| now.duration_since(*told) < NOTE_AGAIN);
        }
        if notes.len() < MAX_NOTES {
            notes.insert(about.to_owned(), now);
            drop(notes);
            self.sink.note(&text());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An error for a socket that is not what was said.
fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
