//! Command line words: the tables that describe commands and flags, their parsing (clap underneath), usage errors and help in docker's form.
//!
//! Owns the meaning of a command line up to typed access through [`Matches`]. Never talks to a daemon, never prints.

pub mod check;
pub mod flag;
pub mod help;
pub mod parse;
pub mod values;

pub use flag::{Arity, Command, Flag};
pub use parse::{Matches, Outcome, parse};
