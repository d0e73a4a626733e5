//! Between a client's connection that was taken over and the streams of a command or of a container (`exec`, `attach`).
//!
//! Owns: the copying both ways, frames, the keys that leave a terminal. Invariants: a client that half-closes ends the input only (but see `ends_with_input`); one that goes away
//! ends nothing. Never: knows what runs at the other end.

use super::hijack::Wire;
use crate::backend::ExecStreams;
use crate::stdcopy::{self, Channel};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wsw_api::exec::Escape;
use wsw_api::log::Stream;

/// Bytes of one read of a client's input.
const PIECE: usize = 32 << 10;

/// How a client's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Over,
    Detached,
}

/// How a connection is used.
pub(super) struct Talk {
    /// With frames; without them there is one stream.
    pub framed: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The keys that leave it.
    pub escape: Option<Escape>,
    /// When the client's input ends, it is over: what runs there goes on and reads no end.
    pub ends_with_input: bool,
}

impl Talk {
    /// What hindered it, where the output would be.
    pub(super) async fn refuse(&self, mut wire: Wire, why: &str) {
        let text = format!("{why}\r\n");
        let bytes = if self.framed { stdcopy::frame(Channel::Stdout, &[text.as_bytes()]) } else { Bytes::from(text) };
        let _ = wire.write_all(&bytes).await;
        let _ = wire.shutdown().await;
    }

    pub(super) async fn run(mut self, wire: Wire, streams: ExecStreams) -> End {
        let (mut reader, mut writer) = tokio::io::split(wire);
        let ExecStreams { input, mut output } = streams;
        let mut typing = std::pin::pin!(feed(&mut reader, input, self.escape.take()));
        let mut listens = true;
        loop {
            tokio::select! {
                piece = output.recv() => {
                    let Some((stream, bytes)) = piece else { break };
                    if self.wants(stream) && write(&mut writer, stream, &bytes, self.framed).await.is_err() {
                        return End::Over;
                    }
                }
                end = &mut typing, if listens => {
                    if end == End::Detached {
                        let _ = writer.shutdown().await;
                        return End::Detached;
                    }
                    if self.ends_with_input {
                        break;
                    }
                    listens = false;
                }
            }
        }
        let _ = writer.shutdown().await;
        End::Over
    }

    fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), stream: Stream, bytes: &[u8], framed: bool) -> std::io::Result<()> {
    let channel = if stream == Stream::Stdout { Channel::Stdout } else { Channel::Stderr };
    if framed { writer.write_all(&stdcopy::frame(channel, &[bytes])).await } else { writer.write_all(bytes).await }
}

/// The client's input, until either closes. Without an input it is read all the same: that is how a client that is gone is noticed.
async fn feed(reader: &mut (impl AsyncReadExt + Unpin), input: Option<mpsc::Sender<Bytes>>, mut escape: Option<Escape>) -> End {
    let mut piece = vec![0_u8; PIECE];
    loop {
        let Ok(read @ 1..) = reader.read(&mut piece).await else { return End::Over };
        let bytes = piece.get(..read).unwrap_or_default();
        let (bytes, left) = match &mut escape {
            Some(escape) => escape.pass(bytes),
            None => (bytes.to_vec(), false),
        };
        if let Some(input) = input.as_ref().filter(|_| !bytes.is_empty())
            && input.send(Bytes::from(bytes)).await.is_err()
        {
            return End::Over;
        }
        if left {
            return End::Detached;
        }
    }
}
