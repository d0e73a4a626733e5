//! Encryption of what the log and the snapshots keep: AES-256-GCM under a key derived per file.
//!
//! Owns: the data keys and how a file's key follows from one. Invariants: a file's key comes from its random salt, so the random nonces
//! of one file are all that can ever meet; what is opened was sealed with the same associated data. Never: prints a key.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use std::{fmt, io};

/// Bytes of a data key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a file's salt.
pub const SALT_BYTES: usize = 32;
/// Bytes of a record's nonce.
pub const NONCE_BYTES: usize = NONCE_LEN;
/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes).map(|()| bytes)
}

/// As many random bytes from the kernel as there is room for.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| io::Error::other("the kernel gives no random bytes"))
}

/// A key that encrypts this node's log; in `identity/`.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey {
    /// Names the key in each record, so that it can be replaced later.
    pub id: u32,
    bytes: [u8; KEY_BYTES],
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

impl DataKey {
    /// A key of these bytes.
    pub fn new(id: u32, bytes: [u8; KEY_BYTES]) -> Self {
        Self { id, bytes }
    }
    /// A new random key.
    pub fn generate(id: u32) -> io::Result<Self> {
        Ok(Self { id, bytes: random()? })
    }
    /// The secret itself, for the identity folder only.
    pub fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
    /// The key of one file.
    pub fn for_file(&self, salt: &[u8; SALT_BYTES], purpose: &[u8]) -> io::Result<FileKey> {
        let mut bytes = [0; KEY_BYTES];
        let derived = Salt::new(HKDF_SHA256, salt).extract(&self.bytes);
        derived.expand(&[purpose], Length).and_then(|okm| okm.fill(&mut bytes)).map_err(|_| io::Error::other("no key could be derived"))?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| io::Error::other("no key could be made"))?;
        Ok(FileKey(LessSafeKey::new(key)))
    }
}

struct Length;
impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// The key of one file.
pub struct FileKey(LessSafeKey);

impl FileKey {
    /// Encrypts in place; the tag is for the caller to store.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], data: &mut [u8]) -> io::Result<[u8; TAG_BYTES]> {
        let tag = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), data);
        tag.ok().and_then(|tag: Tag| tag.as_ref().try_into().ok()).ok_or_else(|| io::Error::other("sealing failed"))
    }

    /// Decrypts in place (`data` ends with the tag). None when it was not sealed with this key, nonce and associated data.
    pub fn open<'a>(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], data: &'a mut [u8]) -> Option<&'a mut [u8]> {
        self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), data).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_salt_and_associated_data_open_it() {
        let key = DataKey::generate(1).unwrap();
        let salt = random().unwrap();
        let file = key.for_file(&salt, b"log").unwrap();
        let mut data = b"secret".to_vec();
        let nonce = random().unwrap();
        let tag = file.seal(nonce, b"7", &mut data).unwrap();
        assert_ne!(data, b"secret");
        data.extend_from_slice(&tag);
        assert!(file.open(nonce, b"8", &mut data.clone()).is_none());
        assert!(key.for_file(&salt, b"snapshot").unwrap().open(nonce, b"7", &mut data.clone()).is_none());
        assert!(DataKey::generate(1).unwrap().for_file(&salt, b"log").unwrap().open(nonce, b"7", &mut data.clone()).is_none());
        assert_eq!(file.open(nonce, b"7", &mut data).unwrap(), b"secret");
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.secret())));
    }
}
