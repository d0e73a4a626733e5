//! `wsw image` and its short forms (`images`, `load`, `pull`, `push`, `rmi`, `save`, `tag`, `history`).

mod history;
mod inspect;
mod load;
mod ls;
mod progress;
mod prune;
mod pull;
mod rm;
mod save;

pub use history::run as history;
pub use inspect::{get as inspect_one, run as inspect};
pub use load::{bytes as load_bytes, run as load};
pub use ls::{COLUMNS, rows, run as ls};
pub use prune::run as prune;
pub use pull::{pull, push};
pub use rm::run as rm;
pub use save::{save, tag};
