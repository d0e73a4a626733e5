//! The list of images: names, and what each image is.
//!
//! Owns: `index.json`, replaced as a whole. Invariants: a name leads to an image of the list; a version newer than ours is refused.

use super::reference::{self, Reference, familiar};
use super::types::{Image, Removed};
use crate::error::{Error, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wsw_api::shim::Kind;

const VERSION: u32 = 1;
/// Some thousand images.
const MAX_INDEX: u64 = 64 << 20;

/// An image and the blobs that it needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub image: Image,
    pub blobs: BTreeSet<String>,
}

/// Names and images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    /// Full name with tag → digest.
    names: BTreeMap<String, String>,
    images: BTreeMap<String, Record>,
}

impl Default for Index {
    fn default() -> Self {
        Self { version: VERSION, names: BTreeMap::new(), images: BTreeMap::new() }
    }
}

impl Index {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = match files::read_bounded(path, MAX_INDEX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(|e| Error::io(format_args!("read {}", path.display()), &e))?,
        };
        let version = serde_json::from_slice::<serde_json::Value>(&bytes).ok().and_then(|value| value.get("version")?.as_u64());
        if version.is_some_and(|version| version > u64::from(VERSION)) {
            return Err(Error::Invalid(format!("{}: written by a newer version of wsw", path.display())));
        }
        serde_json::from_slice(&bytes).map_err(|error| Error::Invalid(format!("{}: {error}; move it away to start with no images", path.display())))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|error| Error::Invalid(format!("image index: {error}")))?;
        files::write_synced(path, &bytes, 0o600).map_err(|e| Error::io(format_args!("write {}", path.display()), &e))
    }

    /// Adds an image; its names leave the images that had them before. One that is there already keeps its age.
    pub(crate) fn add(&mut self, mut record: Record, names: &[Reference]) {
        let digest = record.image.digest.clone();
        if let Some(known) = self.images.get(&digest) {
            record.image.created = known.image.created;
        }
        self.names.extend(names.iter().map(|name| (name.tagged(), digest.clone())));
        self.images.insert(digest, record);
    }

    /// All images, in order of their digests.
    pub(crate) fn list(&self) -> Vec<Image> {
        self.images.keys().filter_map(|digest| self.image(digest)).collect()
    }

    pub(crate) fn count(&self) -> u64 {
        self.images.len() as u64
    }

    pub(crate) fn image(&self, digest: &str) -> Option<Image> {
        let mut image = self.images.get(digest)?.image.clone();
        image.tags = self.tags(digest).into_iter().map(|name| familiar(&name).to_owned()).collect();
        Some(image)
    }

    fn tags(&self, digest: &str) -> Vec<String> {
        self.names.iter().filter(|(_, to)| *to == digest).map(|(name, _)| name.clone()).collect()
    }

    /// The digest of an image by name, digest, id or the start of its id. A digest in a reference wins over its tag.
    pub(crate) fn resolve(&self, text: &str) -> Result<String> {
        let missing = || Error::NoSuchImage(text.to_owned());
        if let Some(digest) = self.by_id(text)? {
            return Ok(digest);
        }
        let reference = Reference::parse(text).map_err(|error| if reference::is_digest(text) { missing() } else { error })?;
        match &reference.digest {
            Some(digest) => self.images.get_key_value(digest).map(|(digest, _)| digest.clone()),
            None => self.names.get(&reference.tagged()).cloned(),
        }
        .ok_or_else(missing)
    }

    /// A name wins over an id that begins with the same letters.
    fn by_id(&self, text: &str) -> Result<Option<String>> {
        let prefix = text.strip_prefix("sha256:");
        let hex = prefix.unwrap_or(text);
        let is_name = prefix.is_none() && Reference::parse(text).is_ok_and(|name| self.names.contains_key(&name.tagged()));
        if hex.is_empty() || !reference::is_hex(hex) || is_name {
            return Ok(None);
        }
        let wanted = format!("sha256:{hex}");
        let mut matching = self.images.keys().filter(|digest| digest.starts_with(&wanted));
        match (matching.next(), matching.next()) {
            (Some(_), Some(_)) => Err(Error::Invalid(format!("image id {text:?} is ambiguous: several images begin with it"))),
            (found, _) => Ok(found.cloned()),
        }
    }

    /// Removes a name, or the image with all its names. `in_use` holds the digests of images that tasks run.
    pub(crate) fn remove(&mut self, text: &str, force: bool, in_use: &BTreeSet<String>) -> Result<Vec<Removed>> {
        let digest = self.resolve(text)?;
        let all = self.tags(&digest);
        let named = Reference::parse(text).ok().filter(|name| name.digest.is_none()).map(|name| name.tagged()).filter(|name| all.contains(name));
        let short = digest.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let names = match named {
            Some(name) => vec![name],
            None if all.len() > 1 && !force => {
                return Err(Error::Conflict(format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories")));
            }
            None => all.clone(),
        };
        let last = names.len() == all.len();
        if last && in_use.contains(&digest) && !force {
            return Err(Error::Conflict(format!("conflict: unable to remove {text} (must force) - a task of this node is using its image {short}")));
        }
        names.iter().for_each(|name| drop(self.names.remove(name)));
        let mut done = names.iter().map(|name| Removed::Untagged(familiar(name).to_owned())).collect::<Vec<_>>();
        if last {
            self.images.remove(&digest);
            done.push(Removed::Deleted(digest));
        }
        Ok(done)
    }

    /// All blobs that some image needs, as file names.
    pub(crate) fn blobs(&self) -> BTreeSet<&str> {
        self.images.values().flat_map(|record| &record.blobs).map(|digest| digest.trim_start_matches("sha256:")).collect()
    }

    /// What a module is, when some image has it.
    pub(crate) fn kind_of(&self, module: &str) -> Option<Kind> {
        self.images.values().find(|record| record.image.module_digest == module).and_then(|record| record.image.wasm_kind)
    }

    /// The modules of all images.
    pub(crate) fn modules(&self) -> BTreeSet<String> {
        self.images.values().map(|record| record.image.module_digest.clone()).collect()
    }
}
