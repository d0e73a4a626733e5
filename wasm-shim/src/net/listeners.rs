//! Who listens: the tasks of this shim that have bound a published port, by service and port.
//!
//! Owns: which of them gets the next connection. Invariants: an entry lives as long as the guest's socket; a task that drains is never
//! chosen; the fewest connections first, in turn among equals; a place is counted from the choice on.

use super::{TaskNet, lock};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering},
};
use wsw_api::{id::ServiceId, spec::Protocol};

/// A published port as the service's tasks know it.
pub type Key = (ServiceId, Protocol, u16);

/// One listening socket.
pub struct Listening {
    /// The real address, on loopback.
    pub address: SocketAddr,
    pub net: Arc<TaskNet>,
}

#[derive(Default)]
struct Port {
    all: Vec<Arc<Listening>>,
    turn: usize,
}

/// All of a shim.
#[derive(Default)]
pub struct Listeners(Mutex<BTreeMap<Key, Port>>);

/// An entry; dropping it takes it out.
pub struct Entry {
    listeners: Arc<Listeners>,
    key: Key,
    listening: Arc<Listening>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut ports = lock(&self.listeners.0);
        let Some(port) = ports.get_mut(&self.key) else { return };
        port.all.retain(|other| !Arc::ptr_eq(other, &self.listening));
        if port.all.is_empty() {
            ports.remove(&self.key);
        }
    }
}

/// A connection's place at a task.
pub struct Seat(pub Arc<Listening>);

impl Seat {
    fn new(listening: Arc<Listening>) -> Self {
        listening.net.active.fetch_add(1, Ordering::SeqCst);
        Self(listening)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.net.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.net.idle.notify_waiters();
        }
    }
}

impl Listeners {
    pub fn add(self: &Arc<Self>, key: Key, address: SocketAddr, net: Arc<TaskNet>) -> Entry {
        let listening = Arc::new(Listening { address, net });
        lock(&self.0).entry(key).or_default().all.push(listening.clone());
        Entry { listeners: self.clone(), key, listening }
    }

    /// The next one for this port; those in `tried` did not answer.
    pub fn pick(&self, key: Key, tried: &[SocketAddr]) -> Option<Seat> {
        let mut ports = lock(&self.0);
        let port = ports.get_mut(&key)?;
        let turn = port.turn.checked_rem(port.all.len())?;
        port.turn = turn + 1;
        let (before, after) = port.all.split_at(turn);
        let free = |listening: &&Arc<Listening>| !listening.net.is_draining() && !tried.contains(&listening.address);
        let load = |listening: &&Arc<Listening>| listening.net.active.load(Ordering::SeqCst);
        after.iter().chain(before).filter(free).min_by_key(load).map(|listening| Seat::new(listening.clone()))
    }
}
