//! `wsw container` and `wsw ps`: the containers (and Wasm tasks) of the daemon's own node.

mod inspect;
mod ls;

pub use inspect::{get as inspect_one, run as inspect};
pub use ls::{COLUMNS, row, run as ls};
