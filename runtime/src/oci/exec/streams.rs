//! The streams of a command: FIFOs towards the shim, channels towards who talks to it.
//!
//! Owns: both ends of the FIFOs, and one small task each. Invariants: at most [`PIECES`] pieces of [`PIECE`] bytes wait for a slow reader, then the process waits; when the reader is gone
//! the output goes nowhere and the process goes on, as with Docker; the end of the output is the end of all who hold it, or [`LINGER`] of silence after the process ended
//! (a child of it may hold it for ever). Never: frames, terminals' keys.

use crate::error::{Error, Result};
use crate::oci::bundle;
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::exec::Command;
use wsw_api::log::Stream;

/// Bytes of one read: what a pipe holds.
const PIECE: usize = 64 << 10;
/// Pieces that wait in a channel.
const PIECES: usize = 4;
/// moby waits as long for output that a child of an ended process holds open.
const LINGER: Duration = Duration::from_secs(2);

/// What the one who runs a command holds.
pub struct Streams {
    /// Dropped: the process reads an end (once [`super::Exec::close_stdin`] was called, too).
    pub input: Option<mpsc::Sender<Bytes>>,
    /// Ends with the process's output.
    pub output: mpsc::Receiver<(Stream, Bytes)>,
    /// The input was written to its end and closed on our side.
    pub input_over: CancellationToken,
}

/// FIFOs that are open on our side: before the shim opens them, so that neither waits for the other.
pub(super) struct Opened {
    stdin: Option<Sender>,
    /// Each with a holder of its writing end, until the shim has its own.
    outputs: Vec<(Stream, Receiver, Receiver)>,
}

/// Our ends while it runs.
pub(super) struct Ends {
    ended: CancellationToken,
    readers: Vec<AbortOnDropHandle<()>>,
    _writer: Option<AbortOnDropHandle<()>>,
    /// Keeps the output open until its end is known to all: who reads it to the end may ask for the code.
    _open: mpsc::Sender<(Stream, Bytes)>,
}

impl Opened {
    pub(super) fn open(folder: &Path, command: &Command) -> Result<Self> {
        let failed = |name: &str, e: io::Error| Error::io(format_args!("open {name} of a command"), &e);
        let stdin = match command.stdin {
            // Read-write: it may be opened although nobody reads yet.
            true => Some(OpenOptions::new().read_write(true).open_sender(bundle::fifo(folder, "stdin")?).map_err(|e| failed("stdin", e))?),
            false => None,
        };
        let mut outputs = Vec::new();
        for (name, stream) in [("stdout", Stream::Stdout), ("stderr", Stream::Stderr)] {
            if stream == Stream::Stderr && command.tty {
                continue;
            }
            let path = bundle::fifo(folder, name)?;
            let holder = OpenOptions::new().read_write(true).open_receiver(&path).map_err(|e| failed(name, e))?;
            let reader = OpenOptions::new().open_receiver(&path).map_err(|e| failed(name, e))?;
            outputs.push((stream, reader, holder));
        }
        Ok(Self { stdin, outputs })
    }

    /// The shim has its ends: bytes flow from now on.
    pub(super) fn pump(self) -> (Ends, Streams) {
        let (ended, input_over) = (CancellationToken::new(), CancellationToken::new());
        let (send, output) = mpsc::channel(PIECES);
        let mut readers = Vec::new();
        for (stream, reader, holder) in self.outputs {
            drop(holder);
            readers.push(AbortOnDropHandle::new(tokio::spawn(read(reader, stream, send.clone(), ended.clone()))));
        }
        let (input, writer) = match self.stdin {
            Some(pipe) => {
                let (input, pieces) = mpsc::channel(PIECES);
                (Some(input), Some(AbortOnDropHandle::new(tokio::spawn(write(pipe, pieces, input_over.clone())))))
            }
            None => (None, None),
        };
        (Ends { ended, readers, _writer: writer, _open: send }, Streams { input, output, input_over })
    }
}

impl Ends {
    /// The process has ended: waits for the rest of its output.
    pub(super) async fn finish(self) {
        self.ended.cancel();
        for reader in self.readers {
            let _ = reader.await;
        }
    }
}

async fn write(mut pipe: Sender, mut pieces: mpsc::Receiver<Bytes>, over: CancellationToken) {
    while let Some(piece) = pieces.recv().await {
        if pipe.write_all(&piece).await.is_err() {
            break;
        }
    }
    drop(pipe);
    over.cancel();
}

async fn read(pipe: Receiver, stream: Stream, sink: mpsc::Sender<(Stream, Bytes)>, ended: CancellationToken) {
    let mut piece = vec![0_u8; PIECE];
    loop {
        match pipe.try_read(&mut piece) {
            Ok(0) => return,
            Ok(read) => {
                let bytes = Bytes::copy_from_slice(piece.get(..read).unwrap_or_default());
                // Nobody listens any more: the process goes on all the same.
                let _ = sink.send((stream, bytes)).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let silence = async {
                    ended.cancelled().await;
                    tokio::time::sleep(LINGER).await;
                };
                tokio::select! {
                    ready = pipe.readable() => if ready.is_err() { return },
                    () = silence => return,
                }
            }
            Err(error) => return tracing::warn!(%error, "a command's output cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn what_was_written_before_the_end_arrives_and_then_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let command = Command { stdin: true, ..Command::default() };
        let opened = Opened::open(dir.path(), &command).unwrap();
        let mut shim = std::fs::OpenOptions::new().write(true).open(dir.path().join("stdout")).unwrap();
        let other = std::fs::OpenOptions::new().write(true).open(dir.path().join("stderr")).unwrap();
        let mut reads = std::fs::File::open(dir.path().join("stdin")).unwrap();
        let (ends, mut streams) = opened.pump();
        shim.write_all(b"out").unwrap();
        assert_eq!(streams.output.recv().await, Some((Stream::Stdout, Bytes::from_static(b"out"))));
        streams.input.as_ref().unwrap().send(Bytes::from_static(b"in")).await.unwrap();
        streams.input = None;
        streams.input_over.cancelled().await;
        let mut text = String::new();
        io::Read::read_to_string(&mut reads, &mut text).unwrap();
        assert_eq!(text, "in");
        shim.write_all(b"last").unwrap();
        drop((shim, other));
        ends.finish().await;
        assert_eq!(streams.output.recv().await, Some((Stream::Stdout, Bytes::from_static(b"last"))));
        assert_eq!(streams.output.recv().await, None);
    }
}
