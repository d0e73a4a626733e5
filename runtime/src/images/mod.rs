//! The images of this node: what came in by `load`, by digest and by name.
//!
//! ```text
//! images/blobs/sha256/<hex>   manifests, configurations, layers, modules     images/index.json   names and what each image is
//! images/compiled/            code for the shims (crate::compiler)           images/tmp/         loads that are under way
//! ```
//!
//! Invariants: a blob is what its name says; the index names only blobs that are there; a load changes everything or nothing.
//! Never: talks to a registry, runs anything.

mod archive;
mod blobs;
mod classify;
mod index;
mod layers;
mod layout;
mod reader;
mod reference;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod types;
mod unpacked;

pub use reference::{Reference, familiar};
pub use store::Images;
pub use types::{Image, Removed};
