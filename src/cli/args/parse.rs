//! From words to [`Matches`]: finds the leaf command, lets clap take its flags apart, and says what is wrong in docker's words.
//!
//! Docker's rules that clap is told here: a flag may be repeated (the last value counts), values may start with a hyphen, a boolean
//! takes its value after `=` only. Exit codes: 125 for a bad flag, 1 for a bad argument.

use std::collections::BTreeMap;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{
    flag::{Arity, Command, Flag},
    help, values,
};
use crate::cli::{errors::Error, topics};

/// docker's code for a command line that it could not take apart.
const BAD_FLAG: u8 = 125;

/// The words of one leaf command, taken apart and checked.
#[derive(Debug, Default, Clone)]
pub struct Matches {
    values: BTreeMap<&'static str, Vec<String>>,
    pub args: Vec<String>,
    /// The word by which the command was called (an alias perhaps).
    pub called_as: String,
}

/// What the command line asks for.
pub enum Outcome {
    Run {
        command: &'static Command,
        root: Matches,
        leaf: Matches,
    },
    Help(String),
    /// A group without a command: its help, which is not what was asked for.
    Usage(String),
}

impl Matches {
    pub fn changed(&self, flag: &str) -> bool {
        self.values.contains_key(flag)
    }

    pub fn any_changed(&self, flags: &[&str]) -> bool {
        flags.iter().any(|flag| self.changed(flag))
    }

    pub fn changed_flags(&self) -> impl Iterator<Item = &str> {
        self.values.keys().copied()
    }

    pub fn text(&self, flag: &str) -> Option<&str> {
        self.values.get(flag).and_then(|values| values.last()).map(String::as_str)
    }

    pub fn text_or<'a>(&'a self, flag: &str, default: &'a str) -> &'a str {
        self.text(flag).unwrap_or(default)
    }

    pub fn list(&self, flag: &str) -> &[String] {
        self.values.get(flag).map_or(&[], Vec::as_slice)
    }

    pub fn on(&self, flag: &str) -> bool {
        self.text(flag).is_some_and(|value| values::parse_bool(value).unwrap_or(false))
    }

    // The getters below read values that the flag's check has accepted; a table that names no check reads as absent.

    pub fn uint(&self, flag: &str) -> Option<u64> {
        self.text(flag).and_then(|value| values::parse_uint(value, 64).ok())
    }

    pub fn int(&self, flag: &str) -> Option<i64> {
        self.text(flag).and_then(|value| values::parse_int(value).ok())
    }

    pub fn float(&self, flag: &str) -> Option<f64> {
        self.text(flag).and_then(|value| values::parse_float(value).ok())
    }

    pub fn nanos(&self, flag: &str) -> Option<i64> {
        self.text(flag).and_then(|value| values::parse_duration(value).ok())
    }

    pub fn bytes(&self, flag: &str) -> Option<i64> {
        self.text(flag).and_then(|value| values::parse_bytes(value).ok())
    }

    pub fn cpus(&self, flag: &str) -> Option<i64> {
        self.text(flag).and_then(|value| values::parse_cpus(value).ok())
    }

    pub fn words(&self, flag: &str) -> Option<Vec<String>> {
        self.text(flag).and_then(|value| values::split_words(value).ok())
    }
}

/// Takes `words` (without the program's name) apart.
pub fn parse(root: &'static Command, words: &[String]) -> Result<Outcome, Error> {
    let scan = Scan::of(root, words);
    let (before, mut rest) = words.split_at(scan.first_argument);
    if scan.help {
        return Ok(Outcome::Help(help::help(root, root.name)));
    }
    let root_matches = take_apart(root, root.name, before)?;
    if rest.first().is_some_and(|word| word == "help") {
        return help_about(root, &rest[1..]).map(Outcome::Help);
    }
    let mut command = root;
    let mut path = root.name.to_owned();
    while command.run.is_none() {
        let Some(word) = rest.first() else {
            if root_matches.on("version") {
                return Ok(Outcome::Run { command, root: root_matches, leaf: Matches::default() });
            }
            return Ok(Outcome::Usage(help::help(command, &path)));
        };
        if word == "--help" || word == "-h" {
            return Ok(Outcome::Help(help::help(command, &path)));
        }
        if word.starts_with('-') && word.len() > 1 {
            return Err(unknown_flag(command, &path, word));
        }
        command = command.find(word).ok_or_else(|| unknown_command(command, &path, word))?;
        path = format!("{path} {}", command.name);
        rest = &rest[1..];
    }
    let called_as = words[words.len() - rest.len() - 1].clone();
    let scan = Scan::of(command, rest);
    if scan.help {
        return Ok(Outcome::Help(help::help(command, &path)));
    }
    let mut leaf = if command.interspersed {
        take_apart(command, &path, rest)?
    } else {
        let mut fenced = rest.to_vec();
        if fenced.get(scan.first_argument).is_some_and(|word| word != "--") {
            fenced.insert(scan.first_argument, "--".into());
        }
        take_apart(command, &path, &fenced)?
    };
    leaf.called_as = called_as;
    check_arity(root.name, command, &path, leaf.args.len())?;
    Ok(Outcome::Run { command, root: root_matches, leaf })
}

/// `help [COMMAND…|TOPIC]`.
fn help_about(root: &'static Command, words: &[String]) -> Result<String, Error> {
    if let [topic] = words
        && let Some(page) = topics::find(topic)
    {
        return Ok(page.to_owned());
    }
    let mut command = root;
    let mut path = root.name.to_owned();
    for word in words {
        command = command.find(word).ok_or_else(|| Error::Plain(format!("unknown help topic: {}", words.join(" "))))?;
        path = format!("{path} {}", command.name);
    }
    Ok(help::help(command, &path))
}

/// Where the arguments begin, and whether `--help` is asked for before a fence.
struct Scan {
    first_argument: usize,
    help: bool,
}

impl Scan {
    fn of(command: &Command, words: &[String]) -> Scan {
        let mut first_argument = None;
        let mut at = 0;
        while let Some(word) = words.get(at) {
            if word == "--" {
                break;
            }
            if word == "--help" || word == "-h" {
                return Scan { first_argument: first_argument.unwrap_or(at), help: true };
            }
            if word.len() > 1 && word.starts_with('-') {
                at += 1 + usize::from(takes_next(command, word));
                continue;
            }
            first_argument.get_or_insert(at);
            if !command.interspersed || command.run.is_none() {
                break;
            }
            at += 1;
        }
        Scan { first_argument: first_argument.unwrap_or(at.min(words.len())), help: false }
    }
}

/// Whether the value of this flag word is the next word.
fn takes_next(command: &Command, word: &str) -> bool {
    if let Some(long) = word.strip_prefix("--") {
        return command.all_flags().any(|flag| flag.long == long && !flag.is_boolean());
    }
    let mut letters = word.chars().skip(1).peekable();
    while let Some(letter) = letters.next() {
        let Some(flag) = command.all_flags().find(|flag| flag.short == Some(letter)) else { return false };
        if !flag.is_boolean() {
            return letters.peek().is_none();
        }
        if letters.peek() == Some(&'=') {
            return false;
        }
    }
    false
}

/// clap's form of one command, without its subcommands.
pub fn clap_leaf(command: &Command) -> clap::Command {
    let mut leaf = clap::Command::new(command.name).no_binary_name(true).disable_help_flag(true).disable_version_flag(true).args_override_self(false);
    for flag in command.all_flags() {
        let mut arg = clap::Arg::new(flag.long).long(flag.long).help(flag.help).action(clap::ArgAction::Append).allow_hyphen_values(true);
        if let Some(short) = flag.short {
            arg = arg.short(short);
        }
        arg = if flag.is_boolean() {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").allow_hyphen_values(false)
        } else {
            arg.num_args(1).value_name(flag.word)
        };
        leaf = leaf.arg(arg);
    }
    leaf.arg(clap::Arg::new("…").num_args(0..).action(clap::ArgAction::Append))
}

fn take_apart(command: &Command, path: &str, words: &[String]) -> Result<Matches, Error> {
    let found = clap_leaf(command).try_get_matches_from(words).map_err(|error| translate(command, path, words, &error))?;
    let mut matches = Matches::default();
    for flag in command.all_flags() {
        let Some(given) = found.get_many::<String>(flag.long) else { continue };
        let given: Vec<String> = given.cloned().collect();
        for value in &given {
            (flag.check)(value).map_err(|why| bad_flag(command, path, &format!("invalid argument {value:?} for {:?} flag: {why}", flag.spelling())))?;
        }
        matches.values.insert(flag.long, given);
    }
    matches.args = found.get_many::<String>("…").map(|args| args.cloned().collect()).unwrap_or_default();
    Ok(matches)
}

fn translate(command: &Command, path: &str, words: &[String], error: &clap::Error) -> Error {
    let culprit = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.split([' ', '=']).next().unwrap_or_default().to_owned(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::UnknownArgument => unknown_flag(command, path, &culprit),
        _ => {
            let long = culprit.trim_start_matches('-').trim_end_matches('[');
            let short = command.all_flags().find(|flag| flag.long == long).and_then(|flag| flag.short);
            let as_short = short.filter(|short| words.last().is_some_and(|word| !word.starts_with("--") && word.ends_with(*short)));
            let text = match as_short {
                Some(short) => format!("flag needs an argument: '{short}' in -{short}"),
                None => format!("flag needs an argument: --{long}"),
            };
            bad_flag(command, path, &text)
        }
    }
}

fn unknown_flag(command: &Command, path: &str, word: &str) -> Error {
    let text = match word.strip_prefix("--") {
        Some(long) => format!("unknown flag: --{}", long.split('=').next().unwrap_or_default()),
        None => format!("unknown shorthand flag: '{}' in {word}", word.chars().nth(1).unwrap_or('-')),
    };
    bad_flag(command, path, &text)
}

fn bad_flag(command: &Command, path: &str, text: &str) -> Error {
    Error::Status { code: BAD_FLAG, text: format!("{text}\n\nUsage:  {}\n\nRun '{path} --help' for more information", help::usage_line(command, path)) }
}

fn unknown_command(command: &Command, path: &str, word: &str) -> Error {
    if !path.contains(' ') {
        return Error::Plain(format!("{path}: unknown command: {path} {word}\n\nRun '{path} --help' for more information"));
    }
    let program = path.split(' ').next().unwrap_or_default();
    Error::Plain(format!(
        "{program}: unknown command: {path} {word}\n\nUsage:  {}\n\nRun '{path} --help' for more information",
        help::usage_line(command, path)
    ))
}

fn check_arity(program: &str, command: &Command, path: &str, given: usize) -> Result<(), Error> {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let (wrong, see) = match command.arity {
        Arity::None if given > 0 => ("accepts no arguments".to_owned(), "Run"),
        Arity::Exact(count) if given != count => (format!("requires {count} {}", plural(count)), "Run"),
        Arity::AtLeast(count) if given < count => (format!("requires at least {count} {}", plural(count)), "See"),
        // "SRun" is what docker 28 prints here.
        Arity::AtMost(count) if given > count => (format!("requires at most {count} {}", plural(count)), "SRun"),
        Arity::Between(least, most) if given < least || given > most => (format!("requires at least {least} and at most {most} {}", plural(most)), "Run"),
        _ => return Ok(()),
    };
    let usage = help::usage_line(command, path);
    Err(Error::Plain(format!("{program}: '{path}' {wrong}\n\nUsage:  {usage}\n\n{see} '{path} --help' for more information")))
}

/// The root's own flags, for completion and help.
pub fn visible(flags: impl Iterator<Item = &'static Flag>) -> Vec<&'static Flag> {
    let mut flags: Vec<_> = flags.filter(|flag| !flag.hidden).collect();
    flags.sort_by_key(|flag| flag.long);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::ROOT;

    fn outcome(line: &str) -> Result<Outcome, Error> {
        parse(&ROOT, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check_refused(line: &str, code: u8, begins: &str) {
        match outcome(line) {
            Ok(_) => panic!("{line}: accepted"),
            Err(error) => {
                assert!(error.to_string().starts_with(begins), "{line}: {error}");
                assert_eq!(error.exit_code(), code, "{line}");
            }
        }
    }

    #[test]
    fn usage_errors_are_docker_s() {
        check_refused(
            "service create --foo",
            125,
            "unknown flag: --foo\n\nUsage:  wsw service create [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'wsw service create --help'",
        );
        check_refused("service create -dx a", 125, "unknown shorthand flag: 'x' in -x\n");
        check_refused("service create --name", 125, "flag needs an argument: --name\n");
        check_refused("service ls -f", 125, "flag needs an argument: 'f' in -f\n");
        check_refused("service create -d=zz a", 125, "invalid argument \"zz\" for \"-d, --detach\" flag: strconv.ParseBool: parsing \"zz\": invalid syntax\n");
        check_refused(
            "service create --replicas -1 a",
            125,
            "invalid argument \"-1\" for \"--replicas\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax\n",
        );
        check_refused("service create", 1, "wsw: 'wsw service create' requires at least 1 argument\n\nUsage:");
        check_refused("service ls a", 1, "wsw: 'wsw service ls' accepts no arguments\n");
        check_refused("foo", 1, "wsw: unknown command: wsw foo\n\nRun 'wsw --help' for more information");
        check_refused("service foo", 1, "wsw: unknown command: wsw service foo\n\nUsage:  wsw service\n");
    }

    #[test]
    fn flags_and_values_in_all_spellings() {
        let Ok(Outcome::Run { root, leaf, .. }) = outcome("-H unix:///a service ls -qf name=x --filter=label=y --format -x --quiet=false") else {
            panic!("not accepted")
        };
        assert_eq!(root.text("host"), Some("unix:///a"));
        assert_eq!(leaf.list("filter"), ["name=x", "label=y"]);
        assert_eq!(leaf.text("format"), Some("-x"));
        assert!(leaf.changed("quiet") && !leaf.on("quiet"));
    }

    #[test]
    fn help_wins_over_what_is_missing() {
        assert!(matches!(outcome("service create --help"), Ok(Outcome::Help(_))));
        assert!(matches!(outcome("service create app --help"), Ok(Outcome::Run { .. })));
        assert!(matches!(outcome("service"), Ok(Outcome::Usage(_))));
        assert!(matches!(outcome("--help"), Ok(Outcome::Help(_))));
    }
}
