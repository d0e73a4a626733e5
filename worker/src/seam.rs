//! What the worker needs of the runtime: the executor, the controllers, the hand-over of connections.
//!
//! Owns: the trait [`Handover`]; the others are the runtime's. Everything in this crate speaks to trait objects, so tests bring
//! scripted ones.

use async_trait::async_trait;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use wsw_api::ServiceId;
use wsw_api::shim::HandoverOutcome;
use wsw_runtime::Runtime;

pub use wsw_runtime::{Adopted, AdoptedState, Controller, Executor, Exit, TaskRequest};

/// Gives accepted connections and flows of datagrams to the tasks of a service on this node.
#[async_trait]
pub trait Handover: Send + Sync + 'static {
    /// The caller keeps its copy of `connection` until the answer; unless it is `Taken`, nothing was read from it. After an error a
    /// task may have the connection or not: the caller gives up its own copy and nothing else.
    async fn handover(&self, service: ServiceId, port: u16, client: SocketAddr, connection: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome>;
    /// Has a datagram socket, not connected yet, connected to the port of a task; the caller goes on using it when it is `Taken`.
    async fn flow(&self, service: ServiceId, port: u16, client: SocketAddr, socket: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome>;
}

#[async_trait]
impl Handover for Runtime {
    async fn handover(&self, service: ServiceId, port: u16, client: SocketAddr, connection: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        Runtime::handover(self, service, port, client, connection).await
    }
    async fn flow(&self, service: ServiceId, port: u16, client: SocketAddr, socket: BorrowedFd<'_>) -> wsw_runtime::Result<HandoverOutcome> {
        Runtime::flow(self, service, port, client, socket).await
    }
}
