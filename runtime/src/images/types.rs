//! What the store answers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wsw_api::Time;
use wsw_api::shim::Kind;
use wsw_api::spec::Platform;

/// An image of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the manifest: `sha256:…`; the image's id.
    pub digest: String,
    /// Names it has, as Docker shows them: `app:latest`. Kept in the index, filled in on the way out.
    #[serde(skip)]
    pub tags: Vec<String>,
    /// `wasi`/`wasm` for all Wasm images, whatever their configuration says: the exports decide what they need.
    pub platform: Platform,
    /// Bytes of manifest, configuration and layers.
    pub size: u64,
    pub created: Option<Time>,
    pub labels: BTreeMap<String, String>,
    /// What the module is, by its exports.
    pub wasm_kind: Option<Kind>,
    /// The module or component itself.
    pub module_digest: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub manifest_media_type: String,
    pub manifest_size: u64,
    /// Digests of the layers, in order.
    pub layers: Vec<String>,
}

/// One thing that removing an image did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(String),
}
