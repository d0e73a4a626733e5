//! `wsw container` and `wsw ps`: the containers (and Wasm tasks) of the daemon's own node.

mod act;
mod attach;
pub mod commands;
mod cp;
mod exec;
mod flags;
mod inspect;
mod logs;
mod ls;
mod port;
mod prune;
mod stats;

pub use act::{kill, pause, restart, rm, stop, top, unpause, wait};
pub use attach::run as attach;
pub use cp::run as cp;
pub use exec::run as exec;
pub use inspect::{get as inspect_one, run as inspect};
pub use logs::run as logs;
pub use ls::{COLUMNS, row, run as ls};
pub use port::run as port;
pub use prune::run as prune;
pub use stats::run as stats;
