//! The header of an encrypted file: what it is, which key opens it.
//!
//! ```text
//! magic 8 | key id 4 | number 8 | salt 32 | nonce 12 | tag 16 | 0 | crc32 4     (96 bytes)
//! ```
//! Invariant: the tag proves the key, so a wrong key is told by name and never looks like a torn file.

use super::crypto::{DataKey, FileKey, NONCE_BYTES, SALT_BYTES, TAG_BYTES, random};
use std::io;

/// Bytes of a file header.
pub const FILE_HEADER_BYTES: usize = 96;
/// What is said of a key that does not open it.
pub const WRONG_KEY: &str = "this node's data key does not open it";
const SEALED: usize = 52;
const CHECKED: usize = FILE_HEADER_BYTES - 4;

/// A header for a new file, and the file's key.
pub fn make(magic: [u8; 8], number: u64, key: &DataKey, purpose: &[u8]) -> io::Result<(Vec<u8>, FileKey)> {
    let salt: [u8; SALT_BYTES] = random()?;
    let file_key = key.for_file(&salt, purpose)?;
    let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&key.id.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&salt);
    let nonce: [u8; NONCE_BYTES] = random()?;
    let tag = file_key.seal(nonce, &bytes, &mut [])?;
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&tag);
    bytes.resize(CHECKED, 0);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    Ok((bytes, file_key))
}

/// Checks a header: the file's number and key, or why it is refused.
pub fn check(bytes: &[u8; FILE_HEADER_BYTES], magic: [u8; 8], key: &DataKey, purpose: &[u8]) -> Result<(u64, FileKey), String> {
    if bytes[..8] != magic {
        return Err("it has a format that this version does not know".into());
    }
    if crc32fast::hash(&bytes[..CHECKED]).to_le_bytes() != bytes[CHECKED..] {
        return Err("its header is damaged".into());
    }
    let key_id = u32::from_le_bytes(part(bytes, 8));
    if key_id != key.id {
        return Err(format!("it is encrypted with data key {key_id}, this node has data key {}", key.id));
    }
    let file_key = key.for_file(&part(bytes, 20), purpose).map_err(|err| err.to_string())?;
    let mut tag: [u8; TAG_BYTES] = part(bytes, SEALED + NONCE_BYTES);
    match file_key.open(part(bytes, SEALED), &bytes[..SEALED], &mut tag) {
        Some(_) => Ok((u64::from_le_bytes(part(bytes, 12)), file_key)),
        None => Err(WRONG_KEY.into()),
    }
}

/// `N` bytes of a slice that is known to be long enough.
pub fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
