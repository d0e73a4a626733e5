//! The bytes of one relayed connection, both ways.
//!
//! ```text
//!   socket ──up──> stream        an end of either goes over as an end, and the other direction goes on
//!   socket <─down─ stream        a reset of either goes over as a reset of both directions
//! ```
//! Invariants: whatever happens to this task, a socket that was not brought to its end is reset, and so is the stream; there is no idle
//! time-out. A side that stops taking bytes ends that direction only: what it has said before is still delivered.

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use wsw_net::{RecvStream, SendStream};

/// Bytes that are read from a socket at a time; a connection holds no more of them.
const PIECE: usize = 32 << 10;
/// A buffer with less room is replaced.
const LEAST_ROOM: usize = 4 << 10;
/// Pieces of a stream (a packet's worth each) that are written to a socket at a time.
const PIECES: usize = 32;
/// A socket that takes no more and says no more was reset; what it said before has this long to arrive.
const LAST_BYTES: Duration = Duration::from_millis(200);

/// How a direction ends without a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With all bytes delivered.
    Whole,
    /// Who should take the bytes takes no more.
    Stopped,
}

/// The connection is broken; both directions are.
#[derive(Debug)]
struct Reset;

/// Runs until both directions have ended.
pub async fn splice(mut socket: TcpStream, send: SendStream, receive: RecvStream) {
    // From here on closing it is a reset, unless both directions came to an end.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    let refused = AtomicBool::new(false);
    let (from, to) = socket.split();
    let ends = tokio::try_join!(up(from, send, &refused), down(receive, to, &refused));
    if let Ok((_, End::Whole)) = ends {
        let _ = SockRef::from(&socket).set_linger(None);
    }
}

async fn up(mut from: ReadHalf<'_>, mut send: SendStream, refused: &AtomicBool) -> Result<End, Reset> {
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        if buffer.capacity() < LEAST_ROOM {
            buffer = BytesMut::with_capacity(PIECE);
        }
        match from.read_buf(&mut buffer).await {
            Ok(0) if refused.load(Ordering::Relaxed) => {
                tokio::time::sleep(LAST_BYTES).await;
                return Err(Reset);
            }
            Ok(0) => return Ok(send.finish().await.map_or(End::Stopped, |()| End::Whole)),
            Ok(_) => {}
            Err(_) => return Err(Reset),
        }
        if send.write_chunk(buffer.split().freeze()).await.is_err() {
            return Ok(End::Stopped);
        }
    }
}

async fn down(mut receive: RecvStream, mut to: WriteHalf<'_>, refused: &AtomicBool) -> Result<End, Reset> {
    let mut pieces: [Bytes; PIECES] = std::array::from_fn(|_| Bytes::new());
    loop {
        let count = match receive.read_pieces(&mut pieces).await {
            Ok(Some(count)) => count,
            Ok(None) => return Ok(to.shutdown().await.map_or(End::Stopped, |()| End::Whole)),
            Err(_) => return Err(Reset),
        };
        if write(&mut to, pieces.get_mut(..count).unwrap_or_default()).await.is_err() {
            refused.store(true, Ordering::Relaxed);
            return Ok(End::Stopped);
        }
    }
}

/// Writes all of them, and lets go of them.
async fn write(to: &mut WriteHalf<'_>, pieces: &mut [Bytes]) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); PIECES];
    let mut used = 0;
    for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
        *slice = IoSlice::new(piece);
        used += 1;
    }
    let mut left = slices.get_mut(..used).unwrap_or_default();
    while !left.is_empty() {
        match to.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    pieces.iter_mut().for_each(|piece| *piece = Bytes::new());
    Ok(())
}
