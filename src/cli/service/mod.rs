//! `wsw service`: one file a command.

pub mod capabilities;
pub mod create;
pub mod flags;
pub mod inspect;
pub mod logs;
pub mod ls;
pub mod mounts;
pub mod options;
pub mod ports;
pub mod pretty;
pub mod progress;
pub mod ps;
pub mod rm;
pub mod rollback;
pub mod scale;
pub mod update;
pub mod update_spec;

#[cfg(test)]
mod tests;
