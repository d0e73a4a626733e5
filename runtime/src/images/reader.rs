//! Reading what a stranger sent: decompressed by its first bytes, bounded in what comes out.
//!
//! Owns: the bound on unpacked bytes. Invariant: a small file that unpacks to a huge one ends with an error, not with a full disk.

use std::io::{self, Read};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio_util::io::SyncIoBridge;

/// Unpacked bytes of one archive or layer. Wasm images are megabytes; Docker's larger ones are refused anyway.
pub(crate) const MAX_UNPACKED: u64 = 2 << 30;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Looks at the first bytes and decompresses when they say so.
pub(crate) async fn decompressed(reader: impl AsyncRead + Send + Unpin + 'static) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
    use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
    let mut reader = BufReader::new(reader);
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
        Box::new(decoder)
    } else if known == 4 && head == ZSTD {
        let mut decoder = ZstdDecoder::new(reader);
        decoder.multiple_members(true);
        Box::new(decoder)
    } else {
        Box::new(reader)
    })
}

/// The same for a file, from within blocking work.
pub(crate) fn decompressed_file(file: std::fs::File) -> io::Result<impl Read> {
    let handle = tokio::runtime::Handle::current();
    let reader = handle.block_on(decompressed(tokio::fs::File::from_std(file)))?;
    Ok(Bounded::new(SyncIoBridge::new_with_handle(reader, handle)))
}

/// Fails once more than [`MAX_UNPACKED`] bytes came through.
pub(crate) struct Bounded<R> {
    reader: R,
    left: u64,
}

impl<R> Bounded<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, left: MAX_UNPACKED }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buf)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(format!("it unpacks to more than {} MiB", MAX_UNPACKED >> 20)))?;
        Ok(read)
    }
}
