//! Copying files out of and into a tree that a stranger may change meanwhile (`docker cp`): a container's root, or a user's own folders at the client.
//!
//! ```text
//! path     names, as Go and docker take them apart (pure)
//! root     one tree: paths are resolved by the kernel below its descriptor, never by text
//! pack     a path of it → tar         unpack   tar → a folder of it
//! inside   the root of a running container, with both over channels
//! ```
//! Invariants: nothing outside the root is read, made, changed or removed, whatever links, pipes and devices stand in it and whoever moves them meanwhile; nothing
//! is opened but folders and regular files; a pseudo file system is never entered; memory does not grow with the tree, nor with the archive.
//! Never: knows HTTP or a client's words.

mod head;
pub mod inside;
mod pack;
pub mod path;
mod pieces;
mod root;
#[cfg(test)]
mod tests;
mod unpack;

pub use inside::Inside;
pub use pack::Packer;
pub use pieces::{Pieces, Sending, pieces};
pub use root::{Fault, Root, said};
pub use unpack::{Owner, Renames, Unpacker, unpack};
