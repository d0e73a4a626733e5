//! What a connection is for: its ALPN name, and the limits that follow.
//!
//! Owns: the names (with the version of what is spoken) and each protocol's bounds on streams and windows.

use crate::transport::STREAM_WINDOW;

/// One kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A node without a certificate asks for one.
    Join,
    /// A worker's session with the leader.
    Session,
    /// Parts of images, by digest.
    Blob,
    /// Clients' connections to tasks on another node; both sides open streams.
    Relay,
    /// Log lines of a node's tasks, for managers.
    Logs,
    /// Managers among each other: votes, entries, snapshots, and what they ask of the leader.
    Raft,
}

/// Relayed connections of one connection between nodes: the library keeps a place for each from the start (about 100 bytes).
const RELAYED: u32 = 1_024;

/// What the accepting side grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Streams that the peer may have open at a time.
    pub streams: u32,
    /// Bytes of all streams together that wait to be read.
    pub window: u32,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Join, Self::Session, Self::Blob, Self::Relay, Self::Logs, Self::Raft];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "wsw-join/1",
            Self::Session => "wsw-session/1",
            Self::Blob => "wsw-blob/1",
            Self::Relay => "wsw-relay/1",
            Self::Logs => "wsw-logs/1",
            Self::Raft => "wsw-raft/1",
        }
    }

    pub(crate) fn of(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name().as_bytes() == alpn)
    }

    /// True when the side that dialled serves streams, too.
    pub(crate) const fn is_mutual(self) -> bool {
        matches!(self, Self::Relay)
    }

    /// A join is one question and one answer, a session one stream; several blobs come at once, and their requests are small. A relayed
    /// connection must not stand still for another that nobody reads, so each stream's window fits in; how many there are is for the
    /// relay to bound. Managers have one stream for each request: a burst of forwarded writes and reads waits beyond that.
    pub(crate) const fn limits(self) -> Limits {
        match self {
            Self::Join => Limits { streams: 1, window: 32 << 10 },
            Self::Session => Limits { streams: 1, window: 1 << 20 },
            Self::Blob => Limits { streams: 16, window: 64 << 10 },
            Self::Logs => Limits { streams: 1, window: 16 << 10 },
            Self::Relay => Limits { streams: RELAYED, window: RELAYED * STREAM_WINDOW },
            Self::Raft => Limits { streams: 256, window: 8 << 20 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol;

    #[test]
    fn names_are_told_apart() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::of(protocol.name().as_bytes()), Some(protocol));
        }
        assert_eq!(Protocol::of(b"h3"), None);
    }
}
