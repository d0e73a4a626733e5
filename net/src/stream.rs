//! Streams that cannot end by accident.
//!
//! Invariant: dropping a stream's sending half resets it: the reader sees a fault, never a clean end. Only [`SendStream::finish`] is an end.
//! (The library's own half finishes when it is dropped, so a task that panics would make what it sent look whole.)

use crate::error::{Close, Error};
use bytes::Bytes;
use quinn::{ReadError, WriteError};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// The half that sends.
#[derive(Debug)]
pub struct SendStream {
    inner: quinn::SendStream,
    finished: bool,
}

impl SendStream {
    pub(crate) fn new(inner: quinn::SendStream) -> Self {
        Self { inner, finished: false }
    }

    /// The stream's number, the same on both sides and used once on a connection.
    pub fn number(&self) -> u64 {
        quinn::VarInt::from(self.inner.id()).into_inner()
    }

    /// Sends all of it; waits while the other side does not read.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.inner.write_all(bytes).await.map_err(|error| of_write(&error))
    }

    /// The same without a copy.
    pub async fn write_chunk(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.inner.write_chunk(bytes).await.map_err(|error| of_write(&error))
    }

    /// Ends it: what was sent is whole. Answers once the other side has all of it.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.finished = true;
        self.inner.finish().map_err(|_| Error::Lost("the stream was closed".into()))?;
        match self.inner.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Error::Lost("the other side stopped reading".into())),
            Err(error) => Err(Error::Lost(error.to_string())),
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.finished {
            // Closed already: then there is nothing to reset.
            let _ = self.inner.reset(Close::Fault.code());
        }
    }
}

fn of_write(error: &WriteError) -> Error {
    match error {
        WriteError::ConnectionLost(ended) => Error::of(ended),
        other => Error::Lost(other.to_string()),
    }
}

/// The half that receives.
#[derive(Debug)]
pub struct RecvStream(pub(crate) quinn::RecvStream);

impl RecvStream {
    /// The next bytes, `max` at most; none at a clean end.
    pub async fn read(&mut self, max: usize) -> Result<Option<Bytes>, Error> {
        let chunk = self.0.read_chunk(max, true).await.map_err(|error| of_read(&error))?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }
}

impl RecvStream {
    /// Fills `pieces` with what has come, in order and without a copy; how many, none at a clean end.
    pub async fn read_pieces(&mut self, pieces: &mut [Bytes]) -> Result<Option<usize>, Error> {
        self.0.read_chunks(pieces).await.map_err(|error| of_read(&error))
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.0), context, buffer)
    }
}

fn of_read(error: &ReadError) -> Error {
    match error {
        ReadError::ConnectionLost(ended) => Error::of(ended),
        ReadError::Reset(_) => Error::Lost("the other side broke the stream off".into()),
        other => Error::Lost(other.to_string()),
    }
}
