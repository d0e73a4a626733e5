//! `--help` in docker's layout: usage line, aliases, commands, flags wrapped to the terminal.

use crate::cli::topics;

use super::{
    flag::{Command, Flag},
    parse::visible,
};

/// Width when standard input is no terminal.
const DEFAULT_WIDTH: usize = 80;
/// docker pads command names to at least this width.
const NAME_WIDTH: usize = 11;
/// A wrapped line may exceed the margin by so much when its rest fits.
const SLOP: usize = 5;
/// Narrower text is not wrapped beside the flag but below it.
const NARROWEST: usize = 24;

/// The usage line without "Usage:".
pub fn usage_line(command: &Command, path: &str) -> String {
    match (path.contains(' '), command.usage) {
        (false, _) => format!("{path} [OPTIONS] COMMAND [ARG...]"),
        (true, "") => path.to_owned(),
        (true, usage) => format!("{path} {usage}"),
    }
}

pub fn help(command: &Command, path: &str) -> String {
    let mut text = String::from("Usage:  ");
    let is_root = !path.contains(' ');
    if command.run.is_some() {
        text += &usage_line(command, path);
    } else {
        text += path;
        text += if is_root { " [OPTIONS] COMMAND" } else { " COMMAND" };
    }
    text += &format!("\n\n{}\n", command.long);
    if !command.alias_paths.is_empty() {
        let program = path.split(' ').next().unwrap_or_default();
        let paths: Vec<_> = command.alias_paths.iter().map(|alias| format!("{program} {alias}")).collect();
        text += &format!("\nAliases:\n  {}\n", paths.join(", "));
    }
    let flags = visible(command.all_flags());
    if !is_root && !flags.is_empty() {
        text += &format!("\nOptions:\n{}", flag_table(&flags, width()));
    }
    if !command.details.is_empty() {
        text += &format!("\n{}\n", command.details);
    }
    text += &command_lists(command, is_root);
    if is_root {
        text += &format!("\nGlobal Options:\n{}", flag_table(&flags, width()));
        text += &topics::list();
    }
    if command.run.is_none() {
        text += &format!("\nRun '{path} COMMAND --help' for more information on a command.\n");
    }
    text
}

fn command_lists(command: &Command, is_root: bool) -> String {
    let (groups, leaves): (Vec<_>, Vec<_>) = command.subs.iter().filter(|sub| !sub.hidden).partition(|sub| sub.run.is_none());
    let list = |title: &str, subs: &[&Command]| -> String {
        let mut sorted = subs.to_vec();
        sorted.sort_by_key(|sub| sub.name);
        let lines: String = sorted.iter().map(|sub| format!("  {:<NAME_WIDTH$} {}\n", sub.name, sub.about)).collect();
        if lines.is_empty() { lines } else { format!("\n{title}:\n{lines}") }
    };
    if !is_root {
        return list("Commands", &leaves);
    }
    let (swarm, management): (Vec<_>, Vec<_>) = groups.into_iter().partition(|sub| sub.about.contains("Swarm"));
    list("Management Commands", &management) + &list("Swarm Commands", &swarm) + &list("Commands", &leaves)
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdin()).map_or(DEFAULT_WIDTH, |size| usize::from(size.ws_col)).max(1) - 1
}

fn flag_table(flags: &[&Flag], width: usize) -> String {
    let heads: Vec<String> = flags
        .iter()
        .map(|flag| {
            let name = match flag.short {
                Some(short) => format!("  -{short}, --{}", flag.long),
                None => format!("      --{}", flag.long),
            };
            if flag.is_boolean() { name } else { format!("{name} {}", flag.word) }
        })
        .collect();
    let longest = heads.iter().map(String::len).max().unwrap_or(0);
    let mut table = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        let default = match (flag.default, flag.word) {
            ("", _) => String::new(),
            (value, "string") => format!(" (default {value:?})"),
            (value, _) => format!(" (default {value})"),
        };
        table += &format!("{head:<longest$}   {}\n", wrap(longest + 3, width, &format!("{}{default}", flag.help)));
    }
    table
}

/// Wraps `text` to `width`, the first line being indented by the caller.
fn wrap(indent: usize, width: usize, text: &str) -> String {
    let mut indent = indent;
    let mut room = width.saturating_sub(indent);
    let mut wrapped = String::new();
    if room < NARROWEST {
        indent = 16;
        room = width.saturating_sub(indent);
        wrapped = format!("\n{}", " ".repeat(indent));
    }
    if room < NARROWEST {
        return text.to_owned();
    }
    let pad = format!("\n{}", " ".repeat(indent));
    let mut rest = text;
    loop {
        let (line, tail) = cut(room - SLOP, rest);
        wrapped += &line.replace('\n', &pad);
        if tail.is_empty() {
            return wrapped;
        }
        wrapped += &pad;
        rest = tail;
    }
}

fn cut(room: usize, text: &str) -> (&str, &str) {
    if room + SLOP > text.len() {
        return (text, "");
    }
    let mut end = room;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = &text[..end];
    match (head.rfind([' ', '\t', '\n']), head.rfind('\n')) {
        (None | Some(0), _) => (text, ""),
        (Some(space), Some(newline)) if newline > 0 && newline < space => (&text[..newline], &text[newline + 1..]),
        (Some(space), _) => (&text[..space], &text[space + 1..]),
    }
}
