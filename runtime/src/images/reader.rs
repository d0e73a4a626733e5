//! Reading what a stranger sent: decompressed by its first bytes, bounded in what comes out.
//!
//! Owns: the bounds on unpacked bytes. Invariant: a small file that unpacks to a huge one ends with an error, not with a full disk or a busy hour.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, ReadBuf};
use tokio_util::io::SyncIoBridge;

/// Unpacked bytes of one archive or layer. Wasm images are megabytes; Docker's larger ones are refused anyway.
pub(crate) const MAX_UNPACKED: u64 = 2 << 30;
/// Unpacked bytes for each packed one. Programs pack to a third; gzip cannot go beyond 1,032, and only for what is made to be unpacked for ever.
const MAX_RATIO: u64 = 200;
/// Up to so many bytes the ratio does not matter: a module may bring megabytes of zeros.
const SMALL: u64 = 64 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Looks at the first bytes and decompresses when they say so.
pub(crate) async fn decompressed(reader: impl AsyncRead + Send + Unpin + 'static) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
    let packed = Arc::<AtomicU64>::default();
    let mut reader = BufReader::new(Counted { reader, bytes: packed.clone() });
    let mut head = [0_u8; 4];
    let known = {
        let start = reader.fill_buf().await?;
        let known = start.len().min(head.len());
        head.iter_mut().zip(start).for_each(|(to, from)| *to = *from);
        known
    };
    Ok(if known >= 2 && head.starts_with(&GZIP) {
        let mut decoder = GzipDecoder::new(reader);
        decoder.multiple_members(true);
        Box::new(Inflating { reader: decoder, packed, unpacked: 0 })
    } else if known == 4 && head == ZSTD {
        let mut decoder = ZstdDecoder::new(reader);
        decoder.multiple_members(true);
        Box::new(Inflating { reader: decoder, packed, unpacked: 0 })
    } else {
        Box::new(reader)
    })
}

/// The same for a file, from within blocking work. `left` is what may still come out of it and of others that share it.
pub(crate) fn decompressed_file(file: std::fs::File, left: Arc<AtomicU64>) -> io::Result<impl Read> {
    bounded_file(file, left, MAX_UNPACKED)
}

/// The same for a layer that becomes a folder: `most` bytes may come out of it.
pub(crate) fn decompressed_up_to(file: std::fs::File, most: u64) -> io::Result<impl Read> {
    bounded_file(file, Arc::new(most.into()), most)
}

fn bounded_file(file: std::fs::File, left: Arc<AtomicU64>, most: u64) -> io::Result<impl Read> {
    let handle = tokio::runtime::Handle::current();
    let reader = handle.block_on(decompressed(tokio::fs::File::from_std(file)))?;
    Ok(Bounded { reader: SyncIoBridge::new_with_handle(reader, handle), left, most })
}

/// Counts what is read of the packed form.
struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        self.bytes.fetch_add((buffer.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// Fails once what comes out is out of all proportion to what went in.
struct Inflating<R> {
    reader: R,
    packed: Arc<AtomicU64>,
    unpacked: u64,
}

impl<R: AsyncRead + Unpin> AsyncRead for Inflating<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        self.unpacked += (buffer.filled().len() - before) as u64;
        let bound = self.packed.load(Ordering::Relaxed).saturating_mul(MAX_RATIO).max(SMALL);
        if self.unpacked > bound {
            return Poll::Ready(Err(io::Error::other(format!("it unpacks to more than {MAX_RATIO} times its size ({} MiB and more)", SMALL >> 20))));
        }
        Poll::Ready(Ok(()))
    }
}

/// Fails once more bytes came through than were left.
pub(crate) struct Bounded<R> {
    reader: R,
    left: Arc<AtomicU64>,
    /// What was left at first, for the error.
    most: u64,
}

impl<R> Bounded<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, left: Arc::new(AtomicU64::new(MAX_UNPACKED)), most: MAX_UNPACKED }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buf)?;
        // One thread reads at a time; the count is shared because it outlives the single reader.
        let left = self.left.load(Ordering::Relaxed).checked_sub(read as u64);
        let left = left.ok_or_else(|| io::Error::other(format!("it unpacks to more than {} MiB", self.most >> 20)))?;
        self.left.store(left, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_what_is_left() {
        let left = Arc::new(AtomicU64::new(10));
        let read = |bytes: &'static [u8]| Bounded { reader: bytes, left: left.clone(), most: MAX_UNPACKED }.read_to_end(&mut Vec::new());
        assert_eq!((read(b"12345").unwrap(), read(b"12345").unwrap()), (5, 5));
        assert!(read(b"1").unwrap_err().to_string().contains("2048 MiB"));
    }
}
