//! Streams that the daemon answers with: JSON messages one after the other, and stdout and stderr in one (8-byte frame headers).

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, ReadHalf};

use super::errors::Error;

/// A frame's header: stream, three zeros, the length in network order.
const HEADER: usize = 8;
/// docker refuses nothing here; this bounds what a broken daemon can make us hold.
const LARGEST_FRAME: usize = 64 << 20;

/// Reads a body piece by piece.
pub struct Reader {
    source: Source,
    buffer: BytesMut,
    ended: bool,
}

/// Where the pieces come from.
enum Source {
    Body(Incoming),
    /// A connection that is no HTTP any more.
    Connection(ReadHalf<TokioIo<Upgraded>>),
}

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Stdout,
    Stderr,
    /// The daemon's own complaint.
    System,
}

impl Reader {
    pub fn new(body: Incoming) -> Reader {
        Reader { source: Source::Body(body), buffer: BytesMut::new(), ended: false }
    }

    pub fn hijacked(connection: ReadHalf<TokioIo<Upgraded>>) -> Reader {
        Reader { source: Source::Connection(connection), buffer: BytesMut::new(), ended: false }
    }

    /// Adds the next piece; false at the end.
    async fn fill(&mut self) -> Result<bool, Error> {
        while !self.ended {
            let body = match &mut self.source {
                Source::Body(body) => body,
                Source::Connection(connection) => {
                    self.ended = connection.read_buf(&mut self.buffer).await? == 0;
                    return Ok(!self.ended);
                }
            };
            match body.frame().await {
                None => self.ended = true,
                Some(Err(error)) => return Err(Error::Plain(format!("unexpected EOF: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The next piece as it comes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while self.buffer.is_empty() {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.split().freeze()))
    }

    /// The next frame of a multiplexed stream.
    pub async fn frame(&mut self) -> Result<Option<(Channel, Bytes)>, Error> {
        while self.buffer.len() < HEADER {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        let channel = match self.buffer[0] {
            0 | 1 => Channel::Stdout,
            2 => Channel::Stderr,
            3 => Channel::System,
            other => return Err(Error::Plain(format!("Unrecognized input header: {other}"))),
        };
        let length = u32::from_be_bytes([self.buffer[4], self.buffer[5], self.buffer[6], self.buffer[7]]) as usize;
        if length > LARGEST_FRAME {
            return Err(Error::Plain(format!("a frame of {length} bytes is too large")));
        }
        while self.buffer.len() < HEADER + length {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        self.buffer.advance(HEADER);
        Ok(Some((channel, self.buffer.split_to(length).freeze())))
    }

    /// The next JSON value of a stream of them.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<T>();
            match values.next() {
                Some(Ok(value)) => {
                    let used = values.byte_offset();
                    self.buffer.advance(used);
                    return Ok(Some(value));
                }
                Some(Err(error)) if !error.is_eof() => return Err(Error::Plain(error.to_string())),
                _ => {
                    if !self.fill().await? {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
