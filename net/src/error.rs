//! What goes wrong between nodes, and the codes with which one side tells the other.
//!
//! Invariant: a text that comes from a peer is bounded and never taken for our own.

use quinn::{ConnectionError, VarInt};
use std::net::SocketAddr;

/// Characters of a peer's reason that are kept.
const MAX_REASON: usize = 512;

/// Why a connection is closed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Nothing is left to say.
    Done,
    /// This peer may not do this; the reason says why.
    Refused,
    /// Not now: a bound is reached.
    Busy,
    /// The other side broke the protocol.
    Fault,
    /// This node stops.
    Stopping,
}

impl Close {
    const ALL: [Self; 5] = [Self::Done, Self::Refused, Self::Busy, Self::Fault, Self::Stopping];

    pub(crate) const fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    fn of(code: VarInt) -> Option<Self> {
        Self::ALL.into_iter().find(|close| close.code() == code)
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, String),
    #[error("credentials: {0}")]
    Credentials(String),
    /// Nobody answers there.
    #[error("{0}: {1}")]
    Unreachable(SocketAddr, String),
    /// The other side's certificate is not one that is expected there, or ours is not taken.
    #[error("{0}: {1}")]
    Untrusted(SocketAddr, String),
    /// The other side said no, and why.
    #[error("{0}")]
    Refused(String),
    #[error("the other side is busy: {0}")]
    Busy(String),
    #[error("the connection is lost: {0}")]
    Lost(String),
    /// What came breaks the protocol.
    #[error("{0}")]
    Frame(String),
}

impl Error {
    /// What the end of a connection means.
    pub(crate) fn of(ended: &ConnectionError) -> Self {
        let ConnectionError::ApplicationClosed(close) = ended else { return Self::Lost(ended.to_string()) };
        let reason: String = String::from_utf8_lossy(&close.reason).chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
        match Close::of(close.error_code) {
            Some(Close::Refused) => Self::Refused(reason),
            Some(Close::Busy) => Self::Busy(reason),
            Some(Close::Done) => Self::Lost("it was closed".into()),
            Some(Close::Fault) => Self::Lost(format!("the other side found a fault: {reason}")),
            Some(Close::Stopping) => Self::Lost("the other side stops".into()),
            None => Self::Lost(format!("closed with code {}", close.error_code)),
        }
    }

    /// What a failed dial means.
    pub(crate) fn of_dial(addr: SocketAddr, ended: &ConnectionError) -> Self {
        match ended {
            ConnectionError::TransportError(fault) => Self::Untrusted(addr, fault.reason.clone()),
            ConnectionError::ConnectionClosed(close) => Self::Untrusted(addr, String::from_utf8_lossy(&close.reason).chars().take(MAX_REASON).collect()),
            ConnectionError::TimedOut => Self::Unreachable(addr, "nobody answers".into()),
            ConnectionError::ApplicationClosed(_) => Self::of(ended),
            other => Self::Unreachable(addr, other.to_string()),
        }
    }
}
