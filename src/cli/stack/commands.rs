//! The table of `wsw stack`'s commands.

use super::flags;
use crate::cli::{
    args::{Arity, Command, Flag},
    commands::{FILTER, FORMAT, LIST, go},
};

const STACK_TASKS: &[Flag] = &[
    FILTER,
    FORMAT,
    Flag::boolean("no-resolve", "Do not map IDs to Names"),
    Flag::boolean("no-trunc", "Do not truncate output"),
    Flag::boolean("quiet", "Only display task IDs").short('q'),
];
pub const STACK: &[Command] = &[
    Command::leaf("config", "[OPTIONS]", "Outputs the final config file, after doing merges and interpolations", Arity::None, go!(super::config))
        .flags(&[flags::CONFIG]),
    Command::leaf("deploy", "[OPTIONS] STACK", "Deploy a new stack or update an existing stack", Arity::Exact(1), go!(super::deploy))
        .flags(&[flags::DEPLOY])
        .aliases(&["up"], &["stack deploy", "stack up"]),
    Command::leaf("ls", "[OPTIONS]", "List stacks", Arity::None, go!(super::ls)).flags(&[&[FORMAT]]).aliases(&["list"], &["stack ls", "stack list"]),
    Command::leaf("ps", "[OPTIONS] STACK", "List the tasks in the stack", Arity::Exact(1), go!(super::ps)).flags(&[STACK_TASKS]),
    Command::leaf("rm", "[OPTIONS] STACK [STACK...]", "Remove one or more stacks", Arity::AtLeast(1), go!(super::rm))
        .flags(&[flags::RM])
        .aliases(&["remove", "down"], &["stack rm", "stack remove", "stack down"]),
    Command::leaf("services", "[OPTIONS] STACK", "List the services in the stack", Arity::Exact(1), go!(super::services)).flags(&[LIST]),
];
