//! What the Engine API needs of this node's images and of registries: a seam of its own beside [`crate::backend::Backend`].
//!
//! Owns: the trait and our own types in it. Never: Docker's spellings.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::collections::BTreeMap;
use wsw_api::registry::RegistryAuth;
use wsw_api::spec::Platform;
use wsw_api::{Result, Time};

/// Lines of a pull or push; an `Err` is its end.
pub type ProgressStream = BoxStream<'static, Result<Progress>>;
/// The bytes of an archive.
pub type Archive = BoxStream<'static, std::io::Result<Bytes>>;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// A tag, or the first digits of a layer; empty for lines of the whole.
    pub id: String,
    pub status: String,
    /// Bytes of how many.
    pub figures: Option<(u64, u64)>,
    /// Whether it is about a layer.
    pub layer: bool,
}

/// An image of this node's store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Digest of the manifest: `sha256:…`; the image's id.
    pub digest: String,
    /// Names it has: `app:latest`.
    pub tags: Vec<String>,
    /// `app@sha256:…` as a registry gave it.
    pub repo_digests: Vec<String>,
    pub platform: Platform,
    pub size: u64,
    pub created: Option<Time>,
    pub tagged_at: Option<Time>,
    pub labels: BTreeMap<String, String>,
    /// `wasm` artefact kind (`http`, `command`, `module`) when it is one.
    pub wasm_kind: Option<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub author: String,
    /// Media type, digest and size of the manifest, for `/distribution`.
    pub manifest_media_type: String,
    pub manifest_size: u64,
    /// Digests of the layers, unpacked where the configuration says so.
    pub layers: Vec<String>,
}

/// What removing an image did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(String),
}

/// What a name leads to, here or at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub platforms: Vec<Platform>,
}

/// One step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub id: String,
    pub created: Option<Time>,
    pub created_by: String,
    pub comment: String,
    pub size: u64,
    pub tags: Vec<String>,
}

/// What `image prune` asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    /// Also images with a tag.
    pub all: bool,
    pub until: Option<Time>,
    pub labels: Vec<String>,
    pub not_labels: Vec<String>,
}

/// This node's images.
#[async_trait]
pub trait ImageStore: Send + Sync + 'static {
    async fn images(&self) -> Result<Vec<Image>>;
    /// By tag, digest, id or unique id prefix.
    async fn image(&self, reference: &str) -> Result<Image>;
    /// Reads an OCI or `docker save` tar (gzip too); answers the names of what came in.
    async fn image_load(&self, body: BoxStream<'static, std::io::Result<Bytes>>, platform: Option<String>) -> Result<Vec<String>>;
    async fn image_remove(&self, reference: &str, force: bool) -> Result<Vec<Removed>>;
    /// A failure before the first line is the answer itself, a later one the stream's end. A name with neither tag nor digest means all tags.
    async fn image_pull(&self, reference: String, platform: Option<String>, auth: Option<RegistryAuth>) -> Result<ProgressStream>;
    async fn image_push(&self, reference: String, auth: Option<RegistryAuth>) -> Result<ProgressStream>;
    /// What a name leads to: of an image that was loaded here, else the registry's answer.
    async fn image_look(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Look>;
    async fn image_tag(&self, reference: &str, name: &str) -> Result<()>;
    async fn image_history(&self, reference: &str) -> Result<Vec<Step>>;
    async fn image_save(&self, references: Vec<String>, platform: Option<String>) -> Result<Archive>;
    /// What went, and the bytes that are free again.
    async fn image_prune(&self, prune: Prune) -> Result<(Vec<Removed>, u64)>;
    /// Tries credentials out.
    async fn registry_login(&self, auth: RegistryAuth) -> Result<()>;
}
