//! The published ports of this node: one listener per port, each accepted connection goes to the tasks of its service.
//!
//! ```text
//! table (watch) ──► loop ──► listener per port ──► accept ──► node by node (`choice`) ──► here: hand over ──► shim
//!                   │                                     └──────────────────────► another: `relay` (a stream)
//!                     ├────► UDP port ──► flow per client ──► its socket handed over; datagrams pass through here (`udp`)
//!                     └────► problems (watch): ports that could not be bound, tried again each second
//! ```
//! Owns: the listeners. Invariants: a port of a removed service is closed when the next table arrives, a connection that was
//! handed over is not ours any more; connections in hand-over are bounded and the kernel's backlog pushes back.
//! Never: reads a byte of a connection that this node's tasks take (datagrams it relays), chooses a task.

mod accept;
mod choice;
mod listener;
mod table;
mod udp;

pub use accept::{Counters, Shared};
pub use table::{Problem, Published, Table, host_ports, table};
pub use udp::flow_socket;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wsw_api::spec::Protocol;

/// Between attempts to bind a port that something else holds.
const RETRY: Duration = Duration::from_secs(1);

/// The running ingress; dropping it closes the ports.
#[derive(Debug)]
pub struct Ingress {
    tables: watch::Sender<Arc<Table>>,
    problems: watch::Receiver<Arc<Vec<Problem>>>,
    run: JoinHandle<()>,
}

impl Ingress {
    /// Binds the ports of the first table and goes on from there. No address means all of them.
    pub fn start(address: Option<IpAddr>, first: Table, shared: Arc<Shared>) -> Self {
        let (tables, receiver) = watch::channel(Arc::new(first));
        let (sender, problems) = watch::channel(Arc::default());
        let run = Run { address, shared, listeners: BTreeMap::new(), problems: sender };
        Self { tables, problems, run: tokio::spawn(run.run(receiver)) }
    }

    /// The ports that should be served from now on.
    pub fn set(&self, table: Table) {
        self.tables.send_if_modified(|current| {
            let differs = **current != table;
            if differs {
                *current = Arc::new(table);
            }
            differs
        });
    }

    /// What hinders ports.
    pub fn problems(&self) -> watch::Receiver<Arc<Vec<Problem>>> {
        self.problems.clone()
    }

    /// Closes all ports.
    pub async fn stop(self) {
        drop(self.tables);
        if let Err(error) = self.run.await {
            tracing::error!(%error, "the ingress ended with an error");
        }
    }
}

/// A port of one transport.
type PortKey = (Protocol, u16);

struct Open {
    target: Published,
    task: JoinHandle<()>,
}

struct Run {
    address: Option<IpAddr>,
    shared: Arc<Shared>,
    listeners: BTreeMap<PortKey, Open>,
    problems: watch::Sender<Arc<Vec<Problem>>>,
}

impl Run {
    async fn run(mut self, mut tables: watch::Receiver<Arc<Table>>) {
        loop {
            let table = Arc::clone(&tables.borrow_and_update());
            let hindered = self.reconcile(&table).await;
            let changed = if hindered { tokio::time::timeout(RETRY, tables.changed()).await.unwrap_or(Ok(())) } else { tables.changed().await };
            if changed.is_err() {
                self.close(|_, _| true).await;
                return;
            }
        }
    }

    /// Closes what is not wanted, opens what is; says whether something could not be opened.
    async fn reconcile(&mut self, table: &Table) -> bool {
        self.close(|key, open| table.ports.get(key) != Some(&open.target)).await;
        let mut problems = table.problems.clone();
        for (key, target) in &table.ports {
            if self.listeners.contains_key(key) {
                continue;
            }
            match self.open(*key, target.clone()) {
                Ok(task) => drop(self.listeners.insert(*key, Open { target: target.clone(), task })),
                Err(error) => problems.push(Problem::of(*key, target, listener::reason(&error))),
            }
        }
        let hindered = problems.len() > table.problems.len();
        self.problems.send_if_modified(|current| {
            let differs = **current != problems;
            if differs {
                problems.iter().for_each(|problem| tracing::warn!("{problem}"));
                *current = Arc::new(problems);
            }
            differs
        });
        hindered
    }

    fn open(&self, (protocol, port): PortKey, target: Published) -> std::io::Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        Ok(match protocol {
            Protocol::Udp => tokio::spawn(udp::serve(udp::bind(self.address, port)?, target, shared)),
            _ => tokio::spawn(accept::serve(listener::bind(self.address, port)?, target, shared)),
        })
    }

    async fn close(&mut self, which: impl Fn(&PortKey, &Open) -> bool) {
        let (closing, kept) = std::mem::take(&mut self.listeners).into_iter().partition(|(key, open)| which(key, open));
        self.listeners = kept;
        for open in BTreeMap::into_values(closing) {
            open.task.abort();
            // The socket is closed when the future is gone; only then can the port be bound for another service.
            let _ = open.task.await;
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.listeners.values().for_each(|open| open.task.abort());
    }
}
