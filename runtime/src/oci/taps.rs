//! Who listens to a container's output as it comes (`docker attach`), beside its log.
//!
//! Owns: the list of them. Invariants: all bytes reach each listener in order; one that is slow slows the container down, as with Docker; one that takes nothing for
//! [`PATIENCE`] is let go, so that a client that was suspended does not hold a container for ever. Never: keeps what nobody was there for.

use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use wsw_api::log::Stream;

/// Pieces (of what a pipe holds) that wait for a listener.
const PIECES: usize = 4;
/// A client on a bad line is back within seconds.
const PATIENCE: Duration = Duration::from_secs(30);

type Listener = mpsc::Sender<(Stream, Bytes)>;

/// See the module's page. When it is dropped, all that listen come to their end.
#[derive(Debug, Default)]
pub(super) struct Taps(Mutex<Vec<Listener>>);

impl Taps {
    fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on.
    pub(super) fn listen(&self) -> mpsc::Receiver<(Stream, Bytes)> {
        let (send, output) = mpsc::channel(PIECES);
        self.lock().push(send);
        output
    }

    pub(super) async fn give(&self, stream: Stream, bytes: &[u8]) {
        let listeners = self.lock().clone();
        if listeners.is_empty() {
            return;
        }
        let piece = Bytes::copy_from_slice(bytes);
        let sends = listeners.iter().map(|listener| listener.send_timeout((stream, piece.clone()), PATIENCE));
        let done = futures_util::future::join_all(sends).await;
        let lost: Vec<_> = listeners.iter().zip(done).filter(|(_, sent)| sent.is_err()).map(|(listener, _)| listener).collect();
        self.lock().retain(|listener| !lost.iter().any(|lost| lost.same_channel(listener)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_takes_nothing_is_let_go_and_the_others_are_not() {
        let taps = Taps::default();
        let (mut one, stuck) = (taps.listen(), taps.listen());
        drop(taps.listen());
        for n in 0..=PIECES {
            taps.give(Stream::Stdout, &[n as u8]).await;
            assert_eq!(one.recv().await, Some((Stream::Stdout, Bytes::copy_from_slice(&[n as u8]))));
        }
        assert_eq!(taps.lock().len(), 1);
        drop((taps, stuck));
        assert_eq!(one.recv().await, None);
    }
}
