//! Connections to containers: to the ready task of the service with the fewest, by the node's own connection to its address.
//!
//! Owns: which tasks of a service take connections, and the relaying of bytes both ways, with each side's end. Invariants: a task that is chosen to stop gets no new one; at most
//! [`MAX_RELAYS`] on the node, further ones wait in the ingress; a connection is taken only when the container has accepted it. Never: reads what it relays.

use super::bundle::Record;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use wsw_api::shim::HandoverOutcome;
use wsw_api::{ServiceId, TaskId};

/// Relayed connections: each holds two descriptors and two buffers.
const MAX_RELAYS: usize = 8_192;
const BUFFER: usize = 32 << 10;
/// A container on the same machine accepts at once, or its backlog is full.
const CONNECT: Duration = Duration::from_secs(2);

struct Target {
    address: Ipv4Addr,
    proxy_protocol: bool,
    active: AtomicUsize,
}

type Tasks = BTreeMap<TaskId, Arc<Target>>;

/// See the module's page.
pub(super) struct Services {
    services: Mutex<BTreeMap<ServiceId, Tasks>>,
    relays: Arc<Semaphore>,
}

impl Default for Services {
    fn default() -> Self {
        Self { services: Mutex::default(), relays: Arc::new(Semaphore::new(MAX_RELAYS)) }
    }
}

/// One connection more of a task, for as long as this lives.
struct Count(Arc<Target>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Services {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Tasks>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task takes connections.
    pub(super) fn put(&self, service: ServiceId, task: TaskId, record: &Record) {
        let Some(address) = record.address else { return };
        let target = Target { address, proxy_protocol: record.proxy_protocol, active: AtomicUsize::new(0) };
        self.lock().entry(service).or_default().insert(task, Arc::new(target));
    }

    /// It takes none any more.
    pub(super) fn take_out(&self, service: ServiceId, task: TaskId) {
        let mut services = self.lock();
        if let Some(tasks) = services.get_mut(&service) {
            tasks.remove(&task);
            if tasks.is_empty() {
                services.remove(&service);
            }
        }
    }

    pub(super) fn has(&self, service: ServiceId) -> bool {
        self.lock().contains_key(&service)
    }

    /// Tasks of the service, the least busy first.
    fn targets(&self, service: ServiceId) -> Vec<Arc<Target>> {
        let mut targets = self.lock().get(&service).map(|tasks| tasks.values().cloned().collect::<Vec<_>>()).unwrap_or_default();
        targets.sort_by_key(|target| target.active.load(Ordering::Relaxed));
        targets
    }

    /// Connects to a task and relays from then on; `None` when no task accepts.
    pub(super) async fn handover(&self, service: ServiceId, port: u16, client: SocketAddr, conn: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        let Ok(permit) = self.relays.clone().try_acquire_owned() else { return Ok(HandoverOutcome::Full) };
        for target in self.targets(service) {
            target.active.fetch_add(1, Ordering::Relaxed);
            let count = Count(target.clone());
            let Ok(Ok(mut inner)) = tokio::time::timeout(CONNECT, TcpStream::connect((target.address, port))).await else { continue };
            let outer = conn.try_clone_to_owned().map(StdStream::from).and_then(|stream| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            });
            let mut outer = outer.map_err(|e| Error::io("take a connection over", &e))?;
            let _ = (inner.set_nodelay(true), outer.set_nodelay(true));
            if target.proxy_protocol {
                let local = outer.local_addr().unwrap_or(SocketAddr::from((target.address, port)));
                if inner.write_all(&proxy_header(client, local)).await.is_err() {
                    continue;
                }
            }
            tokio::spawn(async move {
                let _held = (permit, count);
                if tokio::io::copy_bidirectional_with_sizes(&mut outer, &mut inner, BUFFER, BUFFER).await.is_err() {
                    // One side broke off: the other learns it as such, not as an end.
                    for stream in [&outer, &inner] {
                        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
                    }
                }
            });
            return Ok(HandoverOutcome::Taken);
        }
        Ok(HandoverOutcome::None)
    }

    /// Connects a datagram socket to a task.
    pub(super) fn flow(&self, service: ServiceId, port: u16, socket: BorrowedFd<'_>) -> Result<HandoverOutcome> {
        let Some(target) = self.targets(service).into_iter().next() else { return Ok(HandoverOutcome::None) };
        // Flows have no end that is seen here: turns are taken instead.
        target.active.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((target.address, port));
        rustix::net::connect(socket, &address).map_err(|e| Error::io("connect a flow", &e.into()))?;
        Ok(HandoverOutcome::Taken)
    }
}

/// PROXY protocol, version 2: who the client is.
fn proxy_header(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let ports = [client.port().to_be_bytes(), local.port().to_be_bytes()].concat();
    let (kind, addresses) = match (client, local) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => (0x11, [from.ip().octets(), to.ip().octets()].concat()),
        (from, to) => {
            let v6 = |address: SocketAddr| match address {
                SocketAddr::V4(address) => address.ip().to_ipv6_mapped().octets(),
                SocketAddr::V6(address) => address.ip().octets(),
            };
            (0x21, [v6(from), v6(to)].concat())
        }
    };
    header.push(kind);
    header.extend_from_slice(&u16::try_from(addresses.len() + ports.len()).unwrap_or_default().to_be_bytes());
    header.extend_from_slice(&addresses);
    header.extend_from_slice(&ports);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_header_names_both_ends() {
        let header = proxy_header("192.0.2.1:1000".parse().unwrap(), "192.0.2.2:80".parse().unwrap());
        assert_eq!(header.get(12..16), Some(&[0x21, 0x11, 0, 12][..]));
        assert_eq!(header.get(16..), Some(&[192, 0, 2, 1, 192, 0, 2, 2, 3, 232, 0, 80][..]));
        assert_eq!(proxy_header("[::1]:1".parse().unwrap(), "192.0.2.2:80".parse().unwrap()).len(), 16 + 36);
    }
}
