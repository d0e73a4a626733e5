//! Connections and flows of clients between nodes: the first frames of a `relay` stream; what follows is the client's bytes (TCP), or the
//! datagrams that are too large for a packet, each behind its length (UDP; the others travel as datagrams that begin with the stream's number).
//!
//! ```text
//!   node that was hit -> node with tasks   Opening, then what the client sends
//!   node with tasks -> node that was hit   Answer; after `Taken` what the task sends
//! ```
//! Invariants: no byte of the client's is sent before `Taken`, so any other answer, or none, leaves it free to go elsewhere; a direction's
//! end is the stream's finish, and a reset of the stream is a reset of the connection.

use crate::id::ServiceId;
use crate::shim::HandoverOutcome;
use crate::spec::Protocol;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The first frame of either side: an id, a port and two addresses.
pub const MAX_RELAY_FRAME: usize = 512;

/// Whom a connection is for, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub service: ServiceId,
    /// Target port of the published port that was hit.
    pub port: u16,
    /// A connection (TCP) or a flow of datagrams (UDP).
    #[serde(default)]
    pub protocol: Protocol,
    /// The true client, as the node that was hit saw it.
    pub client: SocketAddr,
    /// The address that the client has connected to.
    pub hit: SocketAddr,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub outcome: HandoverOutcome,
}
