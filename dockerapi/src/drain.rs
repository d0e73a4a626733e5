//! Bodies whose end nobody wants any more: an archive that is refused at its first entry.
//!
//! Owns: reading the rest and throwing it away. Docker's client looks for the answer only when it has sent all; a connection that is closed before
//! that is all it would tell ("broken pipe"), not why.

use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Bytes that are read for nothing: as much as the largest image that is taken at all. A client that sends more learns only that it was cut off.
const MAX_DRAINED: u64 = 16 << 30;

/// A stream that comes back to its lender when its user is done with it.
pub struct Lent<S> {
    stream: Option<S>,
    back: Option<oneshot::Sender<S>>,
}

/// Lends a stream out; the other end has it after the [`Lent`] is dropped.
pub fn lend<S>(stream: S) -> (Lent<S>, oneshot::Receiver<S>) {
    let (back, rest) = oneshot::channel();
    (Lent { stream: Some(stream), back: Some(back) }, rest)
}

impl<S: Stream + Unpin> Stream for Lent<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_next(context),
            None => Poll::Ready(None),
        }
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // A lender that does not wait for it has its reasons.
            let _ = back.send(stream);
        }
    }
}

/// Reads what is left of a lent body, to its end or its sender's.
pub async fn drain<S, E>(rest: oneshot::Receiver<S>)
where
    S: Stream<Item = Result<bytes::Bytes, E>> + Unpin,
{
    let Ok(mut stream) = rest.await else { return };
    let mut left = MAX_DRAINED;
    while let Some(Ok(piece)) = stream.next().await {
        left = left.saturating_sub(piece.len() as u64);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::stream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn what_its_user_leaves_is_read_to_the_end() {
        let read = AtomicUsize::new(0);
        let pieces = stream::iter(0..10).map(|_| {
            read.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
        });
        let (mut lent, rest) = lend(pieces);
        lent.next().await.unwrap().unwrap();
        drop(lent);
        drain(rest).await;
        assert_eq!(read.into_inner(), 10);
    }
}
