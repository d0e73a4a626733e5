//! The secrets of a locked manager: its private key and the key of its Raft log, in one file that only the unlock key opens.
//!
//! ```text
//! header 96 (its number: the version of the cluster that set the key) | nonce 12 | sealed | tag 16
//! ```
//! Owns: the file's form, and what an unlock key looks like. Invariants: the file is replaced whole, so all in it has one key; a wrong key
//! is told from damage. Never: prints a key.

use super::Secret;
use crate::files;
use crate::raft::crypto::{DataKey, FileKey, KEY_BYTES, NONCE_BYTES, random};
use crate::raft::file_header::{self, FILE_HEADER_BYTES, part};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use wsw_api::unlock::UnlockKey;

const MAGIC: [u8; 8] = *b"wswKEYS\x01";
const PURPOSE: &[u8] = b"wsw identity";

/// Why sealed secrets cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockedOut {
    #[error("this manager is locked")]
    NoKey,
    #[error("the unlock key does not open this manager's keys")]
    WrongKey,
}

impl LockedOut {
    /// Whether an error is this one.
    pub fn of(err: &io::Error) -> Option<Self> {
        err.get_ref()?.downcast_ref().copied()
    }
}

impl From<LockedOut> for io::Error {
    fn from(locked: LockedOut) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, locked)
    }
}

#[derive(Serialize, Deserialize)]
struct Secrets(String, u32, [u8; KEY_BYTES]);

/// A new unlock key.
pub fn generate() -> io::Result<UnlockKey> {
    Ok(UnlockKey::from_body(&STANDARD_NO_PAD.encode(random::<KEY_BYTES>()?)))
}

fn wrapping(key: &UnlockKey) -> Option<DataKey> {
    let bytes = STANDARD_NO_PAD.decode(key.body()).ok()?;
    Some(DataKey::new(0, bytes.try_into().ok()?))
}

/// Writes the secrets.
pub fn write(path: &Path, unlock: &UnlockKey, version: u64, key: &Secret, data_key: &DataKey) -> io::Result<()> {
    let wrapping = wrapping(unlock).ok_or(LockedOut::WrongKey)?;
    let (mut bytes, file_key) = file_header::make(MAGIC, version, &wrapping, PURPOSE)?;
    let nonce: [u8; NONCE_BYTES] = random()?;
    let mut sealed = rmp_serde::to_vec(&Secrets(key.0.clone(), data_key.id, *data_key.secret())).map_err(io::Error::other)?;
    let tag = file_key.seal(nonce, &bytes, &mut sealed)?;
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&sealed);
    bytes.extend_from_slice(&tag);
    files::write_private(path, &bytes)
}

/// Reads them: the version of the key as well.
pub fn read(path: &Path, unlock: &UnlockKey) -> io::Result<(u64, Secret, DataKey)> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path)?;
    let wrapping = wrapping(unlock).ok_or(LockedOut::WrongKey)?;
    if bytes.len() < FILE_HEADER_BYTES + NONCE_BYTES {
        return Err(damaged("it is too short"));
    }
    let header: [u8; FILE_HEADER_BYTES] = part(&bytes, 0);
    let (version, file_key): (u64, FileKey) = file_header::check(&header, MAGIC, &wrapping, PURPOSE)
        .map_err(|what: String| if what == file_header::WRONG_KEY { LockedOut::WrongKey.into() } else { damaged(&what) })?;
    let mut sealed = bytes[FILE_HEADER_BYTES + NONCE_BYTES..].to_vec();
    let plain = file_key.open(part(&bytes, FILE_HEADER_BYTES), &header, &mut sealed).ok_or_else(|| damaged("it is damaged"))?;
    let Secrets(key, id, data_key) = rmp_serde::from_slice(plain).map_err(|_| damaged("it has a form that this version does not know"))?;
    Ok((version, Secret(key), DataKey::new(id, data_key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_key_opens_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let (unlock, data_key) = (generate().unwrap(), DataKey::generate(3).unwrap());
        assert_eq!(unlock.text().len(), "SWMKEY-1-".len() + 43);
        write(&path, &unlock, 7, &Secret("PRIVATE".into()), &data_key).unwrap();
        let (version, key, read_key) = read(&path, &unlock).unwrap();
        assert!(version == 7 && key.0 == "PRIVATE" && read_key == data_key);
        for wrong in [generate().unwrap(), UnlockKey::from_body("short"), UnlockKey::from_body("")] {
            assert_eq!(LockedOut::of(&read(&path, &wrong).unwrap_err()), Some(LockedOut::WrongKey));
        }
        let whole = std::fs::read(&path).unwrap();
        assert!(!whole.windows(7).any(|bytes| bytes == b"PRIVATE"));
        for at in [whole.len() - 1, FILE_HEADER_BYTES + 1, 9] {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 1;
            std::fs::write(&path, &spoilt).unwrap();
            let err = read(&path, &unlock).unwrap_err();
            assert!(LockedOut::of(&err).is_none() && err.to_string().contains("keys"), "{at}: {err}");
        }
    }
}
