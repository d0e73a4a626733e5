//! An archive on its way in: its files under numbers in a folder of their own, with their digests.
//!
//! Owns: the staging folder, removed when this is dropped. Nothing of it is part of the store until the store takes it.

use super::archive::{self, Kind, Which};
use super::blobs::{copy_hashed, digest_of};
use super::reader::{MAX_UNPACKED, decompressed_file};
use crate::error::{Error, Result};
use crate::files;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Largest JSON document of an image: manifests and configurations are a few KiB.
pub(crate) const MAX_JSON: u64 = 4 << 20;
/// Links that lead to links, within an archive.
const MAX_HOPS: usize = 8;

/// One file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staged {
    pub path: PathBuf,
    pub digest: String,
    pub size: u64,
}

/// All files of the archive, by name and by digest.
#[derive(Debug)]
pub(crate) struct Unpacked {
    folder: PathBuf,
    names: BTreeMap<String, Staged>,
    links: BTreeMap<String, String>,
    digests: BTreeMap<String, Staged>,
    next: AtomicUsize,
    /// Bytes that may still come out of its layers, all together: they are looked through one after the other.
    left: Arc<AtomicU64>,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Unpacked {
    /// Nothing yet, in a new folder below `staging`.
    pub(crate) fn empty(staging: &Path) -> Result<Self> {
        let folder = files::temporary(staging);
        files::folder(&folder, 0o700)?;
        Ok(Self {
            folder,
            names: BTreeMap::new(),
            links: BTreeMap::new(),
            digests: BTreeMap::new(),
            next: AtomicUsize::new(0),
            left: Arc::new(MAX_UNPACKED.into()),
        })
    }

    /// A name in the folder that nothing has.
    pub(crate) fn next_path(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Takes over a file of this folder whose digest was verified.
    pub(crate) fn adopt(&mut self, path: PathBuf, digest: String, size: u64) {
        self.digests.insert(digest.clone(), Staged { path, digest, size });
    }

    /// Reads the whole archive into a new folder below `staging`.
    pub(crate) fn read(reader: impl Read, staging: &Path) -> Result<Self> {
        let mut this = Self::empty(staging)?;
        archive::walk(reader, Which::Images, |name, kind, content, size| {
            let name = archive::inside(&name)?;
            match kind {
                Kind::Folder => return Ok(()),
                Kind::Link(target) => {
                    this.links.insert(name, target);
                    return Ok(());
                }
                // From the archive's root, not from the link's folder.
                Kind::Hard(target) => {
                    let up = "../".repeat(name.matches('/').count());
                    this.links.insert(name, format!("{up}{target}"));
                    return Ok(());
                }
                Kind::File => {}
            }
            if this.names.contains_key(&name) {
                return Err(Error::Invalid(format!("archive: entry {name:?} appears twice")));
            }
            let staged = this.stage(content)?;
            if staged.size != size {
                return Err(archive::truncated());
            }
            this.names.insert(name, staged);
            Ok(())
        })?;
        Ok(this)
    }

    /// Adds content; what fails is either the source or the disk, and the message says which.
    pub(crate) fn stage(&mut self, content: &mut (impl Read + ?Sized)) -> Result<Staged> {
        let path = self.next_path();
        let mut file = Writer { file: File::create_new(&path).map_err(|e| Error::io("unpack", &e))?, failed: None };
        let copied = copy_hashed(&mut &mut *content, &mut file);
        if let Some(error) = file.failed {
            return Err(Error::io("unpack", &error));
        }
        let (digest, size) = copied.map_err(archive::unreadable)?;
        let staged = Staged { path, digest, size };
        self.digests.entry(staged.digest.clone()).or_insert_with(|| staged.clone());
        Ok(staged)
    }

    /// A document that we made ourselves.
    pub(crate) fn stage_bytes(&mut self, mut bytes: &[u8]) -> Result<Staged> {
        self.stage(&mut bytes)
    }

    /// A file by its name in the archive, through links that stay inside.
    pub(crate) fn named(&self, name: &str) -> Result<Option<&Staged>> {
        let mut name = archive::inside(name)?;
        for _ in 0..MAX_HOPS {
            if let Some(staged) = self.names.get(&name) {
                return Ok(Some(staged));
            }
            let Some(target) = self.links.get(&name) else { return Ok(None) };
            name = follow(&name, target)?;
        }
        Err(Error::Invalid(format!("archive: {name:?} is a link that leads in a circle")))
    }

    /// The file of a descriptor. It is looked up by what it holds, so a file that is not what its name says is never used.
    pub(crate) fn blob(&self, digest: &str, what: &str) -> Result<&Staged> {
        if let Some(staged) = self.digests.get(digest) {
            return Ok(staged);
        }
        let named = digest.split_once(':').and_then(|(kind, hex)| self.names.get(&format!("blobs/{kind}/{hex}")));
        Err(Error::Invalid(match named {
            Some(found) => format!("archive: {what} {digest}: the file of that name does not match its digest (it is {})", found.digest),
            None => format!("archive: {what} {digest} is missing"),
        }))
    }

    /// Reads a small document.
    pub(crate) fn json(&self, staged: &Staged, what: &str) -> Result<Vec<u8>> {
        if staged.size > MAX_JSON {
            return Err(Error::Invalid(format!("archive: {what} is larger than {} MiB", MAX_JSON >> 20)));
        }
        let bytes = files::read_bounded(&staged.path, MAX_JSON).map_err(|e| Error::io(format_args!("read {what}"), &e))?;
        debug_assert_eq!(digest_of(&bytes), staged.digest);
        Ok(bytes)
    }

    /// Reads a layer of this archive.
    pub(crate) fn layer(&self, staged: &Staged) -> Result<impl Read + use<>> {
        let file = File::open(&staged.path).map_err(|e| Error::io("read a layer", &e))?;
        decompressed_file(file, self.left.clone()).map_err(archive::unreadable)
    }
}

/// The name that a link at `name` leads to; a relative one starts at the link's own folder.
fn follow(name: &str, target: &str) -> Result<String> {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." if parts.pop().is_some() => {}
            ".." => return Err(Error::Invalid(format!("archive: link {name:?} leads out of the archive"))),
            part => parts.push(part),
        }
    }
    if target.starts_with('/') {
        return Err(Error::Invalid(format!("archive: link {name:?} leads out of the archive")));
    }
    Ok(parts.join("/"))
}

/// A file that remembers its own errors, to tell a full disk from a broken stream.
struct Writer {
    file: File,
    failed: Option<std::io::Error>,
}

impl std::io::Write for Writer {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.file.write(buf).map_err(|error| {
            let copy = std::io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            copy
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
