//! Node-to-node traffic: QUIC with mutual TLS 1.3, one UDP port.
//!
//! ```text
//!   Endpoint ──handshake (bounded)──> Protocol (ALPN) ──Gate: may this peer?──> Handler ──> Connection ──> frames, streams
//!      └──dial(address, whom, Protocol)────────────────────────────────────────────────────────^
//! ```
//! Owns: sockets, handshakes, who the other side is, limits, frames on streams. Invariants: nothing but `join` is opened without a valid
//! certificate of this cluster, and whom the [`Gate`] refuses gets nothing; a dropped stream resets, only `finish` is an end; every queue,
//! frame, stream count and window has a bound. Never: knows what a frame means, what a role may do, or where a certificate comes from.

mod accept;
mod carry;
mod connection;
mod credentials;
mod endpoint;
mod error;
mod frames;
mod join;
mod nowhere;
mod peer;
mod protocol;
mod stream;
mod tls;
mod transport;

pub use accept::{Gate, Handler, Handlers};
pub use carry::{Ended, carry};
pub use connection::Connection;
pub use credentials::Credentials;
pub use endpoint::{Endpoint, Whom};
pub use error::{Close, Error};
pub use frames::{FrameReceiver, FrameSender};
pub use join::{Pinned, dial_unknown};
pub use peer::Peer;
pub use protocol::Protocol;
pub use stream::{RecvStream, SendStream};
