//! One connection to one peer, for one protocol.
//!
//! Owns: opening and accepting streams with a bound on the wait. Clones are the same connection; it ends when it is closed, when the
//! other side is silent for too long, or with its last clone.

use crate::error::{Close, Error};
use crate::peer::Peer;
use crate::stream::{RecvStream, SendStream};
use bytes::Bytes;
use quinn::SendDatagramError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A peer that grants no stream for so long has reached its bound; the caller tries elsewhere.
const OPEN: Duration = Duration::from_secs(5);
/// How long a side that is done waits for the other to close: what it sent last must arrive.
const LINGER: Duration = Duration::from_secs(2);

/// See the module's page.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: quinn::Connection,
    peer: Option<Arc<Peer>>,
}

impl Connection {
    pub(crate) fn new(inner: quinn::Connection, peer: Option<Arc<Peer>>) -> Self {
        Self { inner, peer }
    }

    /// Who is there; none when it has no certificate (it joins, or we do and know it by its root only).
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Where it is seen now; a peer may move.
    pub fn remote(&self) -> SocketAddr {
        self.inner.remote_address()
    }

    /// Opens a stream. The other side hears of it with its first byte.
    pub async fn open(&self) -> Result<(SendStream, RecvStream), Error> {
        match tokio::time::timeout(OPEN, self.inner.open_bi()).await {
            Ok(Ok((send, receive))) => Ok((SendStream::new(send), RecvStream(receive))),
            Ok(Err(ended)) => Err(Error::of(&ended)),
            Err(_) => Err(Error::Busy("it grants no more streams".into())),
        }
    }

    /// The next stream that the other side opens.
    pub async fn accept(&self) -> Result<(SendStream, RecvStream), Error> {
        let (send, receive) = self.inner.accept_bi().await.map_err(|ended| Error::of(&ended))?;
        Ok((SendStream::new(send), RecvStream(receive)))
    }

    /// How long a packet takes to the other side and back, as far as it is known.
    pub fn rtt(&self) -> Duration {
        self.inner.rtt()
    }

    /// True when nothing goes over it any more.
    pub fn is_closed(&self) -> bool {
        self.inner.close_reason().is_some()
    }

    /// Sends a datagram, which may be lost; false when it is too large for a packet.
    pub fn send_datagram(&self, bytes: Bytes) -> Result<bool, Error> {
        if self.inner.max_datagram_size().is_none_or(|most| bytes.len() > most) {
            return Ok(false);
        }
        match self.inner.send_datagram(bytes) {
            Ok(()) => Ok(true),
            Err(SendDatagramError::ConnectionLost(ended)) => Err(Error::of(&ended)),
            // The path has just become narrower.
            Err(_) => Ok(false),
        }
    }

    /// The next datagram that came.
    pub async fn datagram(&self) -> Result<Bytes, Error> {
        self.inner.read_datagram().await.map_err(|ended| Error::of(&ended))
    }

    /// Closes it at once; what is still on its way is lost.
    pub fn close(&self, why: Close, reason: &str) {
        self.inner.close(why.code(), reason.as_bytes());
    }

    /// Waits until the other side closes, no longer than it takes to hear of what was sent last.
    pub async fn linger(&self) {
        let _ = tokio::time::timeout(LINGER, self.inner.closed()).await;
    }

    /// Waits for its end.
    pub async fn closed(&self) -> Error {
        Error::of(&self.inner.closed().await)
    }

    pub(crate) fn grant(&self, streams: u32, window: u32) {
        self.inner.set_receive_window(window.into());
        self.inner.set_max_concurrent_bi_streams(streams.into());
    }
}
