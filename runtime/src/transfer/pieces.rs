//! What is packed, on its way from the thread that packs it to whoever sends it.
//!
//! Owns: the bound between the two: a slow receiver makes the packer wait, one that is gone ends it.

use bytes::{Bytes, BytesMut};
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Bytes of a piece, and how many wait.
const PIECE: usize = 64 << 10;
const PIECES: usize = 4;

/// Piece by piece; an error is the last one, and says that it is not whole.
pub type Pieces = mpsc::Receiver<io::Result<Bytes>>;

/// The packer's end. Blocking.
#[derive(Debug, Clone)]
pub struct Sending {
    send: mpsc::Sender<io::Result<Bytes>>,
    held: BytesMut,
}

/// Both ends.
pub fn pieces() -> (Sending, Pieces) {
    let (send, pieces) = mpsc::channel(PIECES);
    (Sending { send, held: BytesMut::new() }, pieces)
}

impl Sending {
    /// It did not become whole. A receiver that is gone needs no word.
    pub fn fail(&self, error: io::Error) {
        let _ = self.send.blocking_send(Err(error));
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let piece = self.held.split().freeze();
        self.send.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
