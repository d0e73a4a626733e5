//! The images of this node: what came in by `load`, by digest and by name.
//!
//! ```text
//! images/blobs/sha256/<hex>   manifests, configurations, layers, modules     images/index.json   names and what each image is
//! images/compiled/            code for the shims (crate::compiler)           images/tmp/         loads that are under way
//! images/downloads/           blobs that come from a registry        images/layers/              layers of Linux images, unpacked
//! ```
//!
//! Invariants: a blob is what its name says; the index names only blobs that are there; a load changes everything or nothing.
//! Never: runs anything. Registries are spoken to in `registry/` alone.

mod archive;
mod blobs;
mod choose;
mod classify;
mod code;
mod history;
mod index;
mod layers;
mod layout;
mod progress;
mod prune;
mod reader;
mod reference;
mod registry;
mod save;
mod snapshots;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod unpack;
mod unpacked;
mod variant;

pub use choose::parse_platform;
pub use progress::{MAX_WAITING, Sink};
pub use reference::{Reference, familiar};
pub use registry::{BlobReader, Credentials, Given, Insecure, Peers, PullRequest, Pulled, Trust};
pub use store::Images;
pub use wsw_api::image::{Code, Image, Look, Progress, Prune, Removed, Step};

pub(crate) use archive::{truncated, unreadable};
pub(crate) use choose::{fits, native};
pub(crate) use code::InUse;
pub(crate) use reader::decompressed;
pub(crate) use registry::Patience;
