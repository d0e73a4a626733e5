//! Carries typed frames between a stream and two channels: the same ends that a session in one process has.
//!
//! Invariants: a channel that is closed here ends the stream cleanly once all that waited in it has arrived; a stream that ends or breaks
//! there closes both channels. Both directions push back: a full channel stops the reading, a full stream the taking.

use crate::error::Error;
use crate::frames::{FrameReceiver, FrameSender};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the last frames may take to arrive.
const FLUSH: Duration = Duration::from_secs(1);

/// Why it is over.
#[derive(Debug)]
pub enum Ended {
    /// This side closed its channel, and the other has heard all of it or had its time.
    Here,
    /// The other side finished.
    There,
    /// The stream broke.
    Fault(Error),
}

/// Runs until one side ends.
pub async fn carry<Out, In>(mut send: FrameSender<Out>, mut receive: FrameReceiver<In>, mut out: mpsc::Receiver<Out>, into: mpsc::Sender<In>) -> Ended
where
    Out: Serialize,
    In: DeserializeOwned,
{
    let incoming = async {
        loop {
            match receive.next().await {
                Ok(Some(frame)) => {
                    if into.send(frame).await.is_err() {
                        // Nobody listens any more; what is still to be said ends it.
                        return std::future::pending().await;
                    }
                }
                Ok(None) => return Ended::There,
                Err(error) => return Ended::Fault(error),
            }
        }
    };
    let outgoing = async {
        while let Some(frame) = out.recv().await {
            send.send(&frame).await?;
        }
        Ok::<_, Error>(())
    };
    tokio::pin!(incoming);
    tokio::select! {
        ended = &mut incoming => return ended,
        sent = outgoing => if let Err(error) = sent { return Ended::Fault(error) },
    }
    // The last frame may be one that the other side waits for to the end (why a session is refused, a goodbye).
    let finished = async {
        tokio::select! {
            _ = send.finish() => {}
            _ = incoming => {}
        }
    };
    let _ = tokio::time::timeout(FLUSH, finished).await;
    Ended::Here
}
