//! `wsw image` and its short forms (`images`, `load`, `rmi`).

mod inspect;
mod load;
mod ls;
mod rm;

pub use inspect::{get as inspect_one, run as inspect};
pub use load::{bytes as load_bytes, run as load};
pub use ls::{COLUMNS, rows, run as ls};
pub use rm::run as rm;
