//! Layers as folders, each unpacked once per node: `images/layers/<chain id>/`.
//!
//! Owns: that folder. Invariants: a folder there is whole and is what its chain id says (the layer's diff id was checked); it appears by a
//! rename; two tasks that want it unpack it once. What no image of the index needs goes with the image; what was cut off goes at the next start.

use super::archive::unreadable;
use super::blobs::Blobs;
use super::index::Index;
use super::reader::decompressed_up_to;
use super::unpack::Target;
use crate::error::{Error, Result};
use crate::files;
use crate::tarball;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use wsw_api::image::Image;

/// Unpacked bytes of one layer; images of machine learning have layers of some 10 GiB.
const MAX_LAYER: u64 = 32 << 30;
/// Digits of a chain id in a folder's name: 128 bits tell all apart, and an overlay's options have to fit one page.
const NAME: usize = 32;

/// The unpacked layers of this node.
#[derive(Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
    /// Layers that are being unpacked.
    turns: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl Snapshots {
    pub(crate) fn open(images: &Path) -> Result<Self> {
        let folder = images.join("layers");
        files::folder(&folder, 0o700)?;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with('.')) {
                let _ = files::remove_tree(&entry.path());
            }
        }
        Ok(Self { folder, turns: Mutex::default() })
    }

    /// The folders of an image's layers, the lowest first; those that are missing are unpacked. Blocking.
    pub(crate) fn ensure(&self, blobs: &Blobs, image: &Image) -> Result<Vec<PathBuf>> {
        if image.layers.len() != image.diff_ids.len() {
            let (layers, ids) = (image.layers.len(), image.diff_ids.len());
            return Err(Error::Invalid(format!("image {}: its configuration has {ids} diff ids for {layers} layers", image.digest)));
        }
        let mut folders: Vec<PathBuf> = Vec::new();
        for ((layer, diff), chain) in image.layers.iter().zip(&image.diff_ids).zip(chains(&image.diff_ids)) {
            let path = self.folder.join(&chain);
            if !path.is_dir() {
                let below = folders.iter().rev().cloned().collect::<Vec<_>>();
                self.unpack_once(&chain, &path, &blobs.path(layer), diff, &below).map_err(|error| match error {
                    Error::Invalid(text) => Error::Invalid(format!("layer {layer}: {text}")),
                    Error::Temporary(text) => Error::Temporary(format!("layer {layer}: {text}")),
                    other => other,
                })?;
            }
            folders.push(path);
        }
        Ok(folders)
    }

    fn unpack_once(&self, chain: &str, path: &Path, blob: &Path, diff: &str, below: &[PathBuf]) -> Result<()> {
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(chain.to_owned()).or_default().clone();
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if path.is_dir() {
            return Ok(());
        }
        let temp = self.folder.join(format!(".{chain}"));
        let cleared = files::remove_tree(&temp).and_then(|()| fs::create_dir(&temp));
        cleared.map_err(|e| Error::io(format_args!("make {}", temp.display()), &e))?;
        let done = unpack(&temp, blob, diff, below).and_then(|()| {
            let renamed = fs::rename(&temp, path).and_then(|()| files::sync_folder(&self.folder));
            renamed.map_err(|e| Error::io("keep the unpacked layer", &e))
        });
        if done.is_err() {
            let _ = files::remove_tree(&temp);
        }
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(chain);
        done
    }

    /// Removes the folders that no image of the index needs; answers how many went.
    pub(crate) fn sweep(&self, index: &Index) -> usize {
        let kept = index.list().iter().filter(|image| image.module_digest.is_empty()).flat_map(|image| chains(&image.diff_ids)).collect::<BTreeSet<_>>();
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let unwanted = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| !name.starts_with('.') && !kept.contains(name)));
        unwanted.filter(|entry| self.remove(&entry.path())).count()
    }

    /// Out of sight first: half a layer never has a layer's name.
    fn remove(&self, path: &Path) -> bool {
        let aside = files::temporary(&self.folder);
        fs::rename(path, &aside).is_ok() && files::remove_tree(&aside).is_ok()
    }
}

/// The OCI's chain ids, as folder names.
fn chains(diff_ids: &[String]) -> Vec<String> {
    let mut chain = String::new();
    let mut all = Vec::new();
    for diff in diff_ids {
        chain = if chain.is_empty() { diff.clone() } else { format!("sha256:{}", hex::encode(Sha256::digest(format!("{chain} {diff}")))) };
        all.push(chain.trim_start_matches("sha256:").chars().take(NAME).collect());
    }
    all
}

fn unpack(folder: &Path, blob: &Path, diff: &str, below: &[PathBuf]) -> Result<()> {
    let root = rustix::fs::open(folder, rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
    let root = root.map_err(|e| Error::io("open the layer's folder", &e.into()))?;
    rustix::fs::fchmod(&root, rustix::fs::Mode::from_raw_mode(0o755)).map_err(|e| Error::io("open the layer's folder", &e.into()))?;
    let file = File::open(blob).map_err(|e| Error::io("read the layer", &e))?;
    let mut reader = Hashed { reader: decompressed_up_to(file, MAX_LAYER).map_err(unreadable)?, hash: Sha256::new() };
    let mut target = Target::open(folder, below)?;
    tarball::walk(&mut reader, tarball::MAX_ENTRIES, |entry| target.take(entry))?;
    // What follows the archive's end belongs to the layer's digest, too.
    io::copy(&mut reader, &mut io::sink()).map_err(unreadable)?;
    let found = format!("sha256:{}", hex::encode(reader.hash.finalize()));
    if found != diff {
        return Err(Error::Invalid(format!("it unpacks to {found}; the image's configuration says {diff}")));
    }
    target.finish()
}

struct Hashed<R> {
    reader: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buf)?;
        self.hash.update(buf.get(..read).unwrap_or_default());
        Ok(read)
    }
}
