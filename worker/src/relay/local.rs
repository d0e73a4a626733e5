//! The last step, on the node that has the tasks: a connection of our own to one of them.
//!
//! Owns: how such a connection is made. A shim is handed the far end of a pair on loopback, with the true client's address beside it; a task
//! with an address of its own would be connected to. Invariant: until the answer is `Taken` nothing was sent.

use crate::ingress::flow_socket;
use crate::seam::Handover;
use async_trait::async_trait;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::net::{TcpStream, UdpSocket};
use wsw_api::relay::Opening;
use wsw_api::shim::HandoverOutcome;

/// Tasks that take connections here.
#[async_trait]
pub trait Backends: Send + Sync + 'static {
    /// A connection to a ready task of the service; the outcome when there is none.
    async fn connect(&self, opening: &Opening) -> io::Result<Result<TcpStream, HandoverOutcome>>;
    /// A socket whose datagrams go to a ready task of the service and come from it.
    async fn flow(&self, opening: &Opening) -> io::Result<Result<UdpSocket, HandoverOutcome>>;
}

/// Tasks in shims, which are handed connections.
pub struct Shims(pub Arc<dyn Handover>);

#[async_trait]
impl Backends for Shims {
    async fn connect(&self, opening: &Opening) -> io::Result<Result<TcpStream, HandoverOutcome>> {
        let (near, far) = pair()?;
        let answer = self.0.handover(opening.service, opening.port, opening.client, far.as_fd()).await;
        match answer.map_err(|error| io::Error::other(error.to_string()))? {
            HandoverOutcome::Taken => TcpStream::from_std(near).map(Ok),
            outcome => Ok(Err(outcome)),
        }
    }

    async fn flow(&self, opening: &Opening) -> io::Result<Result<UdpSocket, HandoverOutcome>> {
        let socket = flow_socket()?;
        let answer = self.0.flow(opening.service, opening.port, opening.client, socket.as_fd()).await;
        match answer.map_err(|error| io::Error::other(error.to_string()))? {
            HandoverOutcome::Taken => UdpSocket::from_std(socket.into()).map(Ok),
            outcome => Ok(Err(outcome)),
        }
    }
}

/// Two ends of a connection over loopback. TCP, so that a reset is one on the other end, too.
fn pair() -> io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = std::net::TcpStream::connect(listener.local_addr()?)?;
    let own: SocketAddr = near.local_addr()?;
    loop {
        let (far, peer) = listener.accept()?;
        // Any process of this machine may have found the port.
        if peer == own {
            near.set_nonblocking(true)?;
            near.set_nodelay(true)?;
            return Ok((near, far));
        }
    }
}
