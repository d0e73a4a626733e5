//! Files by the digest of their content.
//!
//! Owns: `blobs/sha256/`. Invariant: a file there is complete and is what its name says; whoever stages it has computed the digest.

use crate::error::{Error, Result};
use crate::files;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The folder of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    pub(crate) fn open(images: &Path) -> Result<Self> {
        let folder = images.join("blobs").join("sha256");
        files::folder(&images.join("blobs"), 0o700)?;
        files::folder(&folder, 0o700)?;
        Ok(Self { folder })
    }

    /// Where the blob of this digest is (or would be).
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(digest.trim_start_matches("sha256:"))
    }

    /// Moves staged files in; one sync of the folder for all of them.
    pub(crate) fn take(&self, staged: &[(String, PathBuf)]) -> io::Result<()> {
        for (digest, file) in staged {
            let target = self.path(digest);
            // A blob of an interrupted load may be there; its content is the same by definition, but it may not be on the disk yet.
            let source = if target.exists() { &target } else { file };
            fs::File::open(source)?.sync_all()?;
            if source == file {
                fs::rename(file, &target)?;
            }
        }
        files::sync_folder(&self.folder)
    }

    /// Removes what `keep` does not name; answers how many files went.
    pub(crate) fn sweep(&self, keep: &BTreeSet<&str>) -> usize {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let unwanted = entries.filter(|entry| entry.file_name().to_str().is_none_or(|name| !keep.contains(name)));
        unwanted.filter(|entry| fs::remove_file(entry.path()).is_ok()).count()
    }

    pub(crate) fn read(&self, digest: &str, max: u64) -> Result<Vec<u8>> {
        let bytes = files::read_bounded(&self.path(digest), max).map_err(|e| Error::io(format_args!("read blob {digest}"), &e))?;
        let found = digest_of(&bytes);
        if found == digest { Ok(bytes) } else { Err(Error::Temporary(format!("blob {digest} is damaged (its content is {found}); load the image again"))) }
    }
}

/// `sha256:…` of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Copies and hashes; answers digest and size.
pub(crate) fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hash.update(piece);
        to.write_all(piece)?;
        size += read as u64;
    }
    Ok((format!("sha256:{}", hex::encode(hash.finalize())), size))
}
