//! What the store answers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wsw_api::Time;
use wsw_api::shim::Kind;
use wsw_api::spec::Platform;

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
    /// Whether this version can run it; why not otherwise.
    pub fn refusal(&self) -> Option<String> {
        if !self.module_digest.is_empty() {
            return None;
        }
        let name = self.tags.first().or(self.repo_digests.first()).unwrap_or(&self.digest);
        let Platform { os, architecture } = &self.platform;
        // "Linux image" in so many words: it is what nearly everyone has at hand first.
        let kind = match os.as_str() {
            "linux" => format!("a Linux image (linux/{architecture})"),
            "" => "an image of an unknown platform".into(),
            _ => format!("an image for {os}/{architecture}"),
        };
        Some(format!("image {name} is {kind}; this version runs Wasm only"))
    }
}
