//! A stream that tells when its other end is gone.
//!
//! Owns: that one signal. ttrpc fails only the calls that it knows of; whatever else depends on the shim waits for this.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// The ttrpc connection to a shim.
pub(crate) struct Watched {
    /// Buffered: ttrpc reads the head and the rest of each message apart, and answers come many at a time.
    stream: BufReader<UnixStream>,
    closed: CancellationToken,
}

impl Watched {
    /// `closed` is cancelled at the end of the stream and at the first error.
    pub(crate) fn new(stream: UnixStream, closed: CancellationToken) -> Self {
        Self { stream: BufReader::new(stream), closed }
    }

    fn seen<T>(&self, result: io::Result<T>) -> Poll<io::Result<T>> {
        if result.is_err() {
            self.closed.cancel();
        }
        Poll::Ready(result)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // ttrpc gave the connection up, for whatever reason: nobody can reach the shim any more.
        self.closed.cancel();
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if result.is_ok() && room > 0 && buf.filled().len() == before {
            self.closed.cancel();
        }
        self.seen(result)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.seen(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
