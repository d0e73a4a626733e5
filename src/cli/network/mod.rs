//! `wsw network`: the networks that services can be attached to.

mod act;
mod create;
pub mod flags;
mod ls;

pub use act::{connect, disconnect, inspect, prune, rm};
pub use create::run as create;
pub use ls::run as ls;
