//! One record of a log segment or snapshot: a checked header and an encrypted body.
//!
//! ```text
//! magic 4 | format 1 | kind 1 | 0 2 | key id 4 | body length 4 | index 8 | durable 8 | nonce 12 | crc32 4 | ciphertext, tag 16
//! ```
//! All numbers are little endian. The header is the body's associated data, so a record is bound to its index and place in the log.
//! `durable` is how much of the segment was synced when the record was written: a bad record before that mark is damage, one after
//! it is what a crash left of an unacknowledged write.

use super::crypto::{FileKey, NONCE_BYTES, TAG_BYTES, random};
use std::io;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 48;
/// Bound on one body: an entry is at most 1 MiB and a segment's index less; what claims more is not a record.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
const MAGIC: [u8; 4] = *b"wswR";
/// AES-256-GCM with a random nonce; another cipher or layout gets another number.
const FORMAT: u8 = 1;
const CHECKED: usize = HEADER_BYTES - 4;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A log entry.
    Entry = 1,
    /// Vote, committed and purged.
    State = 2,
    /// Entries after `index` are gone.
    Truncate = 3,
    /// The segment's index: it is sealed.
    Index = 4,
    /// What a snapshot says of itself.
    Meta = 5,
    /// A piece of a snapshot; its index is its number.
    Chunk = 6,
    /// The last piece.
    LastChunk = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Entry, Self::State, Self::Truncate, Self::Index, Self::Meta, Self::Chunk, Self::LastChunk].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A checked header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub key_id: u32,
    pub body: usize,
    pub index: u64,
    pub durable: u64,
    pub nonce: [u8; NONCE_BYTES],
}

impl Header {
    /// Reads a header; None when these bytes are not one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let (checked, crc) = bytes.split_at(CHECKED);
        if crc32fast::hash(checked).to_le_bytes() != crc || bytes[..4] != MAGIC || bytes[4] != FORMAT {
            return None;
        }
        let body = u32::from_le_bytes(field(bytes, 12)) as usize;
        (TAG_BYTES..=MAX_BODY_BYTES).contains(&body).then_some(())?;
        Some(Self {
            kind: Kind::from_byte(bytes[5])?,
            key_id: u32::from_le_bytes(field(bytes, 8)),
            body,
            index: u64::from_le_bytes(field(bytes, 16)),
            durable: u64::from_le_bytes(field(bytes, 24)),
            nonce: field(bytes, 32),
        })
    }

    fn write(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = FORMAT;
        bytes[5] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.key_id.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.body as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.durable.to_le_bytes());
        bytes[32..44].copy_from_slice(&self.nonce);
        let crc = crc32fast::hash(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Bytes of the whole record.
    pub fn record(&self) -> usize {
        HEADER_BYTES + self.body
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Appends a record to `out`; `body` writes the plain body.
pub fn write(
    out: &mut Vec<u8>,
    key: &FileKey,
    (key_id, kind, index, durable): (u32, Kind, u64, u64),
    body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    let written = body(out).and_then(|()| finish(out, start, key, (key_id, kind, index, durable)));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn finish(out: &mut Vec<u8>, start: usize, key: &FileKey, (key_id, kind, index, durable): (u32, Kind, u64, u64)) -> io::Result<()> {
    let body = out.len() - start - HEADER_BYTES + TAG_BYTES;
    if body > MAX_BODY_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a log record of {body} bytes is above the limit of {MAX_BODY_BYTES}")));
    }
    let header = Header { kind, key_id, body, index, durable, nonce: random()? };
    let bytes = header.write();
    let tag = key.seal(header.nonce, &bytes[..CHECKED], &mut out[start + HEADER_BYTES..])?;
    out[start..start + HEADER_BYTES].copy_from_slice(&bytes);
    out.extend_from_slice(&tag);
    Ok(())
}

/// Opens the record at the beginning of `bytes` in place: its header and plain body. None when it is not whole and genuine.
pub fn open<'a>(bytes: &'a mut [u8], key: &FileKey) -> Option<(Header, &'a mut [u8])> {
    let header = Header::read(bytes)?;
    let (head, rest) = bytes.split_at_mut(HEADER_BYTES);
    let plain = key.open(header.nonce, &head[..CHECKED], rest.get_mut(..header.body)?)?;
    Some((header, plain))
}

#[cfg(test)]
mod tests {
    use super::super::crypto::DataKey;
    use super::*;

    #[test]
    fn a_record_opens_only_unchanged() {
        let key = DataKey::generate(3).unwrap().for_file(&[7; 32], b"log").unwrap();
        let mut out = Vec::new();
        write(&mut out, &key, (3, Kind::Entry, 42, 128), |out| {
            out.extend_from_slice(b"body");
            Ok(())
        })
        .unwrap();
        let (header, plain) = open(&mut out.clone(), &key).map(|(h, p)| (h, p.to_vec())).unwrap();
        assert_eq!((header.kind, header.index, header.durable, header.key_id, plain.as_slice()), (Kind::Entry, 42, 128, 3, &b"body"[..]));
        for at in 0..out.len() {
            let mut changed = out.clone();
            changed[at] ^= 1;
            assert!(open(&mut changed, &key).is_none(), "byte {at}");
        }
        for length in 0..out.len() {
            assert!(open(&mut out[..length].to_vec(), &key).is_none(), "length {length}");
        }
    }
}
