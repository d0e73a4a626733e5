//! Images of a node, as its store, the Engine API and the daemon between them speak of them.
//!
//! Owns: the shapes. `Image` is also what a store keeps on disk. Never: a registry's or Docker's spelling.

use crate::Time;
use crate::health::HealthConfig;
use crate::shim::Kind;
use crate::spec::Platform;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An image of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the manifest: `sha256:…`; the image's id.
    pub digest: String,
    /// Names it has, as Docker shows them: `app:latest`. Kept in the index, filled in on the way out.
    #[serde(skip)]
    pub tags: Vec<String>,
    /// `name@sha256:…` as registries gave it; the digest may be that of a platform index.
    #[serde(default)]
    pub repo_digests: Vec<String>,
    /// `wasi`/`wasm` for all Wasm images, whatever their configuration says: the exports decide what they need.
    pub platform: Platform,
    /// Bytes of manifest, configuration and layers.
    pub size: u64,
    pub created: Option<Time>,
    pub labels: BTreeMap<String, String>,
    /// What the module is, by its exports.
    pub wasm_kind: Option<Kind>,
    /// The module or component itself; empty for images of other platforms, which are kept but not run.
    pub module_digest: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub manifest_media_type: String,
    pub manifest_size: u64,
    /// Digests of the layers, in order.
    pub layers: Vec<String>,
    #[serde(default)]
    pub config_digest: String,
    /// Digests of the layers as they unpack (docker's `RootFS`); empty for artefacts.
    #[serde(default)]
    pub diff_ids: Vec<String>,
    #[serde(default)]
    pub author: String,
    #[serde(default)]
    pub user: String,
    /// As the image names it; empty for SIGTERM.
    #[serde(default)]
    pub stop_signal: String,
    /// Paths that are volumes in every container of it.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Its `HEALTHCHECK`.
    #[serde(default)]
    pub healthcheck: Option<HealthConfig>,
    /// Its `SHELL`; empty for Docker's own.
    #[serde(default)]
    pub shell: Vec<String>,
    /// When it came to be here, or was last given a name.
    #[serde(default)]
    pub tagged_at: Option<Time>,
}

/// One thing that removing an image did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(String),
}

/// A line of `docker history`, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The image's id for the newest step, `<missing>` for the others.
    pub id: String,
    pub created: Option<Time>,
    pub created_by: String,
    pub comment: String,
    pub size: u64,
    pub tags: Vec<String>,
}

impl Image {
    /// What it is, in an error's words.
    pub fn describe(&self) -> String {
        let name = self.tags.first().or(self.repo_digests.first()).unwrap_or(&self.digest);
        let Platform { os, architecture } = &self.platform;
        // "Linux image" in so many words: it is what nearly everyone has at hand first.
        let kind = match os.as_str() {
            _ if !self.module_digest.is_empty() => "a Wasm image".into(),
            "linux" => format!("a Linux image (linux/{architecture})"),
            "" => "an image of an unknown platform".into(),
            _ => format!("an image for {os}/{architecture}"),
        };
        format!("image {name} is {kind}")
    }

    /// True for a container's image of the operating system that nodes have.
    pub fn is_linux(&self) -> bool {
        self.module_digest.is_empty() && self.platform.os == "linux"
    }
}

/// What a name leads to, here or at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub platforms: Vec<Platform>,
}

/// What `image prune` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    /// Also those with a tag.
    pub all: bool,
    /// Made before this moment.
    pub until: Option<Time>,
    /// `name` or `name=value`: must all be there.
    pub labels: Vec<String>,
    /// Must all be missing.
    pub not_labels: Vec<String>,
}

/// One line of docker's progress of a pull or push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// A tag or the first digits of a layer; empty for the end's lines.
    pub id: String,
    pub status: String,
    /// Bytes of how many, when there is something to count.
    pub figures: Option<(u64, u64)>,
    /// Whether it is about a layer (docker sends an empty `progressDetail` then).
    pub layer: bool,
}

/// The compiled code of one module, as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// `sha256:…` of the module.
    pub module: String,
    pub size: u64,
    pub made: Time,
    /// When a task last asked for it.
    pub used: Time,
    /// Tasks that have it now.
    pub tasks: u64,
}
