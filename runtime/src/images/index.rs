//! The list of images: names, and what each image is.
//!
//! Owns: `index.json`, replaced as a whole. Invariants: a name leads to an image of the list; a version newer than ours is refused.

use super::reference::{self, Reference, familiar};
use crate::error::{Error, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wsw_api::Time;
use wsw_api::image::{Image, Removed};
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
        // One that could be written and not be read again would keep the next daemon from starting.
        if bytes.len() as u64 > MAX_INDEX {
            return Err(Error::Invalid(format!("image index: the names and settings of all images are larger than {} MiB; remove images", MAX_INDEX >> 20)));
        }
        files::write_synced(path, &bytes, 0o600).map_err(|e| Error::io(format_args!("write {}", path.display()), &e))
    }

    /// Adds an image; its names leave the images that had them before. One that is there already keeps its age.
    pub(crate) fn add(&mut self, mut record: Record, names: &[Reference]) {
        let digest = record.image.digest.clone();
        if let Some(known) = self.images.get(&digest) {
            record.image.created = known.image.created;
            record.image.repo_digests.extend(known.image.repo_digests.iter().cloned());
            record.blobs.extend(known.blobs.iter().cloned());
        }
        record.image.repo_digests.sort();
        record.image.repo_digests.dedup();
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
        image.repo_digests = image.repo_digests.iter().map(|name| familiar(name).to_owned()).collect();
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
            // A platform index leads to the image that was taken from it.
            Some(digest) => self.images.get_key_value(digest).map(|(digest, _)| digest.clone()).or_else(|| self.by_alias(digest)),
            None => self.names.get(&reference.tagged()).cloned(),
        }
        .ok_or_else(missing)
    }

    fn by_alias(&self, digest: &str) -> Option<String> {
        let has = |record: &&Record| record.image.repo_digests.iter().any(|name| name.ends_with(digest));
        self.images.values().find(has).map(|record| record.image.digest.clone())
    }

    /// True when the image has all these names already.
    pub(crate) fn knows(&self, digest: &str, names: &[Reference], aliases: &[String]) -> bool {
        let has = |record: &Record| aliases.iter().all(|alias| record.image.repo_digests.contains(alias));
        self.images.get(digest).is_some_and(has) && names.iter().all(|name| self.names.get(&name.tagged()).is_some_and(|to| to == digest))
    }

    /// The name itself, or all tags of a repository: full name and digest.
    pub(crate) fn names_of(&self, reference: &Reference) -> Vec<(String, String)> {
        let prefix = format!("{}:", reference.name);
        let wanted = |name: &str| match &reference.tag {
            Some(_) => name == reference.tagged(),
            None => name.starts_with(&prefix),
        };
        self.names.iter().filter(|(name, _)| wanted(name)).map(|(name, digest)| (name.clone(), digest.clone())).collect()
    }

    /// Notes that these images are in use.
    pub(crate) fn use_now(&mut self, digests: &BTreeSet<String>, now: Time) {
        for digest in digests {
            if let Some(record) = self.images.get_mut(digest) {
                record.image.tagged_at = Some(now);
            }
        }
    }

    /// Gives an image one more name.
    pub(crate) fn tag(&mut self, text: &str, name: &Reference, now: Time) -> Result<String> {
        let digest = self.resolve(text)?;
        self.names.insert(name.tagged(), digest.clone());
        if let Some(record) = self.images.get_mut(&digest) {
            record.image.tagged_at = Some(now);
        }
        Ok(digest)
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

    /// Removes a name, or the image with all its names (moby's `ImageDelete`). `in_use` has the images that tasks run, with one of the tasks.
    pub(crate) fn remove(&mut self, text: &str, force: bool, in_use: &BTreeMap<String, String>) -> Result<Vec<Removed>> {
        let digest = self.resolve(text)?;
        let short = digest.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let (tags, task) = (self.tags(&digest), in_use.get(&digest).map(|task| task.chars().take(12).collect::<String>()));
        let names = self.names_meant(text, &digest);
        let Some((tag, mut alias)) = names else {
            if let Some(task) = task {
                return Err(Error::Conflict(format!(
                    "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {task}"
                )));
            }
            if tags.len() > 1 && !force {
                return Err(Error::Conflict(format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories")));
            }
            return Ok(self.delete(&digest));
        };
        // The last tag of a repository takes the repository's digests along.
        if let Some(tag) = &tag {
            let repository = Reference::parse(tag)?.name;
            let others = tags.iter().filter(|other| *other != tag).any(|other| Reference::parse(other).is_ok_and(|other| other.name == repository));
            if !others {
                alias = self.aliases(&digest).into_iter().filter(|alias| alias.split('@').next() == Some(&repository)).collect();
            }
        }
        let left = tags.iter().filter(|name| Some(*name) != tag.as_ref()).count() + self.aliases(&digest).iter().filter(|name| !alias.contains(name)).count();
        if let Some(task) = task.as_ref().filter(|_| left == 0 && !force) {
            return Err(Error::Conflict(format!(
                "conflict: unable to remove repository reference {text:?} (must force) - container {task} is using its referenced image {short}"
            )));
        }
        tag.iter().for_each(|name| drop(self.names.remove(name)));
        if let Some(record) = self.images.get_mut(&digest) {
            record.image.repo_digests.retain(|name| !alias.contains(name));
        }
        let mut done = tag.iter().chain(&alias).map(|name| Removed::Untagged(familiar(name).to_owned())).collect::<Vec<_>>();
        // Forced away under a task: the image stays without a name until the task has ended.
        if left == 0 && task.is_none() {
            done.extend(self.delete(&digest));
        }
        Ok(done)
    }

    /// The tag or the digests that a text means; none when it means the image itself.
    fn names_meant(&self, text: &str, digest: &str) -> Option<(Option<String>, Vec<String>)> {
        let reference = Reference::parse(text).ok()?;
        match &reference.digest {
            None => Some(reference.tagged()).filter(|name| self.names.get(name).is_some_and(|to| to == digest)).map(|name| (Some(name), Vec::new())),
            Some(wanted) => {
                let alias = format!("{}@{wanted}", reference.name);
                self.aliases(digest).contains(&alias).then(|| (None, vec![alias]))
            }
        }
    }

    fn aliases(&self, digest: &str) -> Vec<String> {
        self.images.get(digest).map(|record| record.image.repo_digests.clone()).unwrap_or_default()
    }

    /// Takes an image and all its names out.
    pub(crate) fn delete(&mut self, digest: &str) -> Vec<Removed> {
        let names = self.tags(digest);
        names.iter().for_each(|name| drop(self.names.remove(name)));
        let aliases = self.aliases(digest);
        let mut done = names.iter().chain(&aliases).map(|name| Removed::Untagged(familiar(name).to_owned())).collect::<Vec<_>>();
        if self.images.remove(digest).is_some() {
            done.push(Removed::Deleted(digest.to_owned()));
        }
        done
    }

    /// All blobs that some image needs, as file names.
    pub(crate) fn blobs(&self) -> BTreeSet<&str> {
        self.images.values().flat_map(|record| &record.blobs).map(|digest| digest.trim_start_matches("sha256:")).collect()
    }

    /// True when some image needs this blob, or it is an image's manifest.
    pub(crate) fn has_blob(&self, digest: &str) -> bool {
        self.images.contains_key(digest) || self.images.values().any(|record| record.blobs.contains(digest))
    }

    /// The digests of the blobs of one image.
    pub(crate) fn blobs_of(&self, digest: &str) -> BTreeSet<String> {
        self.images.get(digest).map(|record| record.blobs.clone()).unwrap_or_default()
    }

    /// What a module is, when some image has it.
    pub(crate) fn kind_of(&self, module: &str) -> Option<Kind> {
        self.images.values().find(|record| record.image.module_digest == module).and_then(|record| record.image.wasm_kind)
    }

    /// The modules of all images.
    pub(crate) fn modules(&self) -> BTreeSet<String> {
        self.images.values().map(|record| record.image.module_digest.clone()).filter(|module| !module.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an early build wrote it, with what came later, and with what is not known yet.
    #[test]
    fn stored_indexes_are_read_as_they_were_meant() {
        let early = r#"{"digest":"sha256:i","platform":{"os":"wasi","architecture":"wasm"},"size":5,"created":7,"labels":{"a":"b"},"wasm_kind":"http",
            "module_digest":"sha256:m","entrypoint":["/a"],"cmd":["b"],"env":["C=d"],"working_dir":"/","manifest_media_type":"t","manifest_size":9,"layers":["sha256:l"]"#;
        let later = r#","repo_digests":["a@sha256:i"],"config_digest":"sha256:c","diff_ids":["sha256:d"],"author":"me","user":"1","stop_signal":"SIGINT","volumes":["/v"],
            "healthcheck":{"test":["CMD","true"],"interval":1,"timeout":2,"start_period":3,"start_interval":4,"retries":5},"shell":["sh"],"tagged_at":8"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.json");
        let read = |more: &str, version: u32| {
            let image = format!(r#"{{"image":{early}{more}}},"blobs":["sha256:l"]}}"#);
            std::fs::write(&path, format!(r#"{{"version":{version},"names":{{"docker.io/library/app:1":"sha256:i"}},"images":{{"sha256:i":{image}}}}}"#))
                .unwrap();
            Index::read(&path)
        };
        let old = read("", 1).unwrap().image("sha256:i").unwrap();
        assert_eq!((old.created, old.wasm_kind, old.module_digest.as_str(), old.layers.len()), (Some(Time(7)), Some(Kind::Http), "sha256:m", 1));
        assert_eq!((old.tags.len(), old.healthcheck.is_none(), old.tagged_at), (1, true, None));
        let today = read(later, 1).unwrap().image("sha256:i").unwrap();
        let check = today.healthcheck.clone().unwrap();
        assert_eq!((today.stop_signal.as_str(), today.tagged_at, check.test.len(), check.retries), ("SIGINT", Some(Time(8)), 2, 5));
        let newer = read(&format!(r#"{later},"colour":{{"red":[1]}}"#), 1).unwrap();
        assert_eq!(newer.image("sha256:i"), Some(today));
        assert_eq!(newer.blobs_of("sha256:i").len(), 1);
        assert!(read("", 2).unwrap_err().to_string().contains("written by a newer version of wsw"));
    }
}
