//! Flags of `wsw stack`, in docker's words.

use crate::cli::args::{Flag, check};

const FILES: Flag = Flag::custom("compose-file", "strings", check::any, "Path to a Compose file, or \"-\" to read from stdin").short('c');

pub const CONFIG: &[Flag] = &[FILES, Flag::boolean("skip-interpolation", "Skip interpolation and output only merged config")];
pub const DEPLOY: &[Flag] = &[
    FILES,
    Flag::boolean("detach", "Exit immediately instead of waiting for the stack services to converge").short('d').default("true"),
    Flag::boolean("prune", "Prune services that are no longer referenced"),
    Flag::boolean("quiet", "Suppress progress output").short('q'),
    Flag::string("resolve-image", "Query the registry to resolve image digest and supported platforms (\"always\", \"changed\", \"never\")").default("always"),
    Flag::boolean("with-registry-auth", "Send registry authentication details to Swarm agents"),
];
pub const RM: &[Flag] = &[Flag::boolean("detach", "Do not wait for stack removal").short('d').default("true")];
