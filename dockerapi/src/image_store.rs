//! What the Engine API needs of this node's images and of registries: a seam of its own beside [`crate::backend::Backend`].
//!
//! Owns: the trait. Never: Docker's spellings.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
pub use wsw_api::image::{Code, Image, Look, Progress, Prune, Removed, Step};
use wsw_api::registry::RegistryAuth;
use wsw_api::{Result, Time};

/// Lines of a pull or push; an `Err` is its end.
pub type ProgressStream = BoxStream<'static, Result<Progress>>;
/// The bytes of an archive.
pub type Archive = BoxStream<'static, std::io::Result<Bytes>>;

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
    /// The compiled code that is kept.
    fn image_code(&self) -> Vec<Code>;
    /// Removes the code that no task has, and none has asked for since `before`; what went.
    async fn image_code_prune(&self, before: Option<Time>) -> Result<Vec<Code>>;
    /// Tries credentials out.
    async fn registry_login(&self, auth: RegistryAuth) -> Result<()>;
}
