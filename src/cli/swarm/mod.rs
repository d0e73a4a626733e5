//! `wsw swarm`.

mod ca;
mod external_ca;
pub mod flags;
mod init;
mod join;
mod leave;
mod token;
mod unlock;
mod update;

pub use ca::run as ca;
pub use init::{create, request as init_request, run as init};
pub use join::run as join;
pub use leave::{leave as leave_now, run as leave};
pub use token::run as join_token;
pub use unlock::{key as unlock_key, run as unlock};
pub use update::run as update;
