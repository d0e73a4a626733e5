//! `wsw info`, `version`, `events`, `inspect` and `system`.

mod df;
mod events;
mod info;
mod inspect;
mod prune;
mod version;

pub use df::run as df;
pub use events::{run as events, timestamp};
pub use info::run as info;
pub use inspect::run as inspect;
pub use prune::run as prune;
pub use version::run as version;
