//! The tables' vocabulary: a command with its words, arity and flags; a flag with its type, help and default.
//!
//! A flag's type name, help and default are what docker prints in `--help`; `check` decides at parse time, so that a bad value is
//! refused with docker's text before anything is sent.

use std::{future::Future, pin::Pin};

use crate::cli::{Session, args::Matches, args::check, errors::Error};

/// Checks one value; the text says what is wrong with it.
pub type Check = fn(&str) -> Result<(), String>;

/// What a leaf command does.
pub type Run = fn(Session, Matches) -> Pin<Box<dyn Future<Output = Result<(), Error>>>>;

#[derive(Clone, Copy)]
pub struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    /// pflag's type word ("string", "list", …); empty for a boolean.
    pub word: &'static str,
    pub check: Check,
    pub help: &'static str,
    /// The default as `--help` shows it; empty hides it.
    pub default: &'static str,
    pub hidden: bool,
}

impl Flag {
    const fn new(long: &'static str, word: &'static str, check: Check, help: &'static str) -> Self {
        Flag { long, short: None, word, check, help, default: "", hidden: false }
    }

    pub const fn boolean(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "", check::boolean, help)
    }

    pub const fn string(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "string", check::any, help)
    }

    pub const fn list(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "list", check::any, help)
    }

    pub const fn uint(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "uint", check::uint, help)
    }

    pub const fn int(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "int", check::int, help)
    }

    pub const fn float(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "float", check::float, help)
    }

    pub const fn duration(long: &'static str, help: &'static str) -> Self {
        Flag::new(long, "duration", check::duration, help)
    }

    pub const fn custom(long: &'static str, word: &'static str, check: Check, help: &'static str) -> Self {
        Flag::new(long, word, check, help)
    }

    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    pub const fn checked(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    pub fn is_boolean(&self) -> bool {
        self.word.is_empty()
    }

    /// `-d, --detach` or `--name`, as error texts spell a flag.
    pub fn spelling(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

/// How many arguments a command takes.
#[derive(Clone, Copy)]
pub enum Arity {
    None,
    Exact(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

#[derive(Clone, Copy)]
pub struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// What follows the command's path in the usage line.
    pub usage: &'static str,
    pub about: &'static str,
    /// What stands below the options; only commands that docker does not have need it.
    pub details: &'static str,
    /// What its own `--help` says, where that is more than the list says.
    pub long: &'static str,
    pub arity: Arity,
    pub flags: &'static [&'static [Flag]],
    /// Flags may follow arguments; false where the rest belongs to the container's command.
    pub interspersed: bool,
    /// The line below "Aliases:", without the program's name at its commands.
    pub alias_paths: &'static [&'static str],
    pub run: Option<Run>,
    pub subs: &'static [Command],
    pub hidden: bool,
}

impl Command {
    pub const fn group(name: &'static str, about: &'static str, subs: &'static [Command]) -> Self {
        Command {
            name,
            aliases: &[],
            usage: "",
            about,
            details: "",
            long: about,
            arity: Arity::None,
            flags: &[],
            interspersed: true,
            alias_paths: &[],
            run: None,
            subs,
            hidden: false,
        }
    }

    pub const fn leaf(name: &'static str, usage: &'static str, about: &'static str, arity: Arity, run: Run) -> Self {
        Command { usage, arity, run: Some(run), ..Command::group(name, about, &[]) }
    }

    pub const fn flags(mut self, flags: &'static [&'static [Flag]]) -> Self {
        self.flags = flags;
        self
    }

    pub const fn aliases(mut self, aliases: &'static [&'static str], paths: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self.alias_paths = paths;
        self
    }

    pub const fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    pub const fn long(mut self, text: &'static str) -> Self {
        self.long = text;
        self
    }

    pub const fn rest_is_command(mut self) -> Self {
        self.interspersed = false;
        self
    }

    pub fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().flat_map(|group| group.iter())
    }

    pub fn find(&self, word: &str) -> Option<&'static Command> {
        self.subs.iter().find(|sub| sub.name == word || sub.aliases.contains(&word))
    }
}
