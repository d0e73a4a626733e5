//! A container's own input, where its service asks for one (`OpenStdin`): a FIFO in its bundle.
//!
//! Owns: our writing end, one for each client that is attached. The shim holds the FIFO open, too, so the container never reads an end because a client or the daemon goes.
//! Invariant: what a client sent before it left is written, unless the container reads nothing for [`LINGER`].

use super::bundle;
use crate::error::{Error, Result};
use bytes::Bytes;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{OpenOptions, Sender};
use tokio::sync::mpsc;

pub(super) const NAME: &str = "stdin";
/// Pieces that wait for a container that reads slowly; then the client waits.
const PIECES: usize = 4;
/// How long what a client left behind waits for the container.
const LINGER: Duration = Duration::from_secs(2);

/// A writing end; it is closed when it is dropped.
pub(super) fn open(bundle: &Path) -> Result<mpsc::Sender<Bytes>> {
    // Read-write: it may be opened although nobody reads, and no reader that goes makes it fail.
    let pipe = OpenOptions::new().read_write(true).open_sender(bundle.join(NAME));
    let pipe = pipe.map_err(|e| Error::io("open the container's input", &e))?;
    let (send, pieces) = mpsc::channel(PIECES);
    tokio::spawn(write(pipe, pieces));
    Ok(send)
}

async fn write(mut pipe: Sender, mut pieces: mpsc::Receiver<Bytes>) {
    while let Some(piece) = pieces.recv().await {
        let mut writing = std::pin::pin!(pipe.write_all(&piece));
        loop {
            tokio::select! {
                done = &mut writing => match done {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = tokio::time::sleep(LINGER) => if pieces.is_closed() { return },
            }
        }
    }
}

/// Makes the FIFO.
pub(super) fn make(bundle: &Path) -> Result<()> {
    bundle::fifo(bundle, NAME).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[tokio::test]
    async fn what_was_sent_is_written_and_a_writer_whose_client_is_gone_ends() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        let mut reads = std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join(NAME)).unwrap();
        let send = open(dir.path()).unwrap();
        send.send(Bytes::from_static(b"typed")).await.unwrap();
        drop(send);
        let read = tokio::task::spawn_blocking(move || {
            let mut text = [0; 5];
            reads.read_exact(&mut text).unwrap();
            (text, reads)
        });
        let (text, _reads) = read.await.unwrap();
        assert_eq!(&text, b"typed");
        // More than the pipe holds, and nobody reads: the writer gives up once its client is gone.
        let (send, pieces) = mpsc::channel(PIECES);
        let pipe = OpenOptions::new().read_write(true).open_sender(dir.path().join(NAME)).unwrap();
        let writer = tokio::spawn(write(pipe, pieces));
        for _ in 0..PIECES {
            send.send(Bytes::from(vec![0; 64 << 10])).await.unwrap();
        }
        drop(send);
        writer.await.unwrap();
    }
}
