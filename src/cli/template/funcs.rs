//! The functions that templates may call: Go's own and docker's (`json`, `join`, `split`, `title`, `lower`, `upper`, `pad`, `truncate`).

use super::{
    json,
    value::{Kind, Val},
};
use crate::cli::format::units;

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or", "pad", "print", "printf", "println", "slice",
    "split", "title", "truncate", "upper", "urlquery",
];

/// Go's own bound on the width and precision of a verb; here of `pad`, too.
const WIDEST: usize = 1_000_000;

pub fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// docker's header functions return the column's title unchanged; `pad` keeps its meaning.
pub fn is_left_alone_in_header(name: &str) -> bool {
    matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
}

pub fn call(name: &str, args: &[Val]) -> Result<Val, String> {
    match (name, args) {
        ("json", [value]) => Ok(Val::from(json::compact(value, false))),
        ("lower", [value]) => Ok(Val::from(value.to_string().to_lowercase())),
        ("upper", [value]) => Ok(Val::from(value.to_string().to_uppercase())),
        ("title", [value]) => Ok(Val::from(title(&value.to_string()))),
        ("split", [text, separator]) => Ok(split(&text.to_string(), &separator.to_string())),
        ("join", [Val::List(items), separator]) => {
            let items: Vec<_> = items.iter().map(Val::to_string).collect();
            Ok(Val::from(items.join(&separator.to_string())))
        }
        ("join", [Val::Nil, _]) => Ok(Val::text("")),
        ("pad", [text, Val::Int(before), Val::Int(after)]) => Ok(Val::from(pad(&text.to_string(), *before, *after))),
        ("truncate", [text, Val::Int(length)]) => Ok(Val::from(truncate(&text.to_string(), *length))),
        ("and", [_, ..]) => Ok(args.iter().find(|value| !value.is_true()).or(args.last()).cloned().unwrap_or_default()),
        ("or", [_, ..]) => Ok(args.iter().find(|value| value.is_true()).or(args.last()).cloned().unwrap_or_default()),
        ("not", [value]) => Ok(Val::Bool(!value.is_true())),
        ("len", [value]) => value.len().map(|len| Val::Int(len as i64)).ok_or_else(|| format!("len of type {}", value.type_name())),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("print", args) => Ok(Val::from(print(args))),
        ("println", args) => Ok(Val::from(args.iter().map(Val::to_string).collect::<Vec<_>>().join(" ") + "\n")),
        ("printf", [format, args @ ..]) => Ok(Val::from(printf(&format.to_string(), args))),
        ("html", args) => {
            let text = print(args).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;");
            Ok(Val::from(text))
        }
        ("urlquery", args) => Ok(Val::from(crate::cli::client::escape(&print(args)))),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => Ok(Val::Bool(rest.iter().any(|other| equal(first, other)))),
        ("ne", [a, b]) => Ok(Val::Bool(!equal(a, b))),
        ("lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = compare(a, b).ok_or("incompatible types for comparison")?;
            Ok(Val::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        _ => Err(format!("wrong number or type of args for {name}: got {}", args.len())),
    }
}

/// Upper case at the start of each word, as Go's `strings.Title`.
fn title(text: &str) -> String {
    let mut previous = ' ';
    text.chars()
        .map(|c| {
            let starts = !(previous.is_alphanumeric() || previous == '_' || previous == '\'');
            previous = c;
            if starts { c.to_uppercase().next().unwrap_or(c) } else { c }
        })
        .collect()
}

fn split(text: &str, separator: &str) -> Val {
    if separator.is_empty() {
        return Val::list(text.chars().map(|c| Val::from(c.to_string())).collect());
    }
    Val::list(text.split(separator).map(Val::from).collect())
}

fn pad(text: &str, before: i64, after: i64) -> String {
    if text.is_empty() {
        return String::new();
    }
    let spaces = |count: i64| " ".repeat(usize::try_from(count).unwrap_or(0).min(WIDEST));
    format!("{}{text}{}", spaces(before), spaces(after))
}

fn truncate(text: &str, length: i64) -> String {
    let mut end = usize::try_from(length).unwrap_or(0).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn index(value: &Val, key: &Val) -> Result<Val, String> {
    match (value, key) {
        (Val::List(items), Val::Int(at)) => usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned().ok_or_else(|| format!("index out of range: {at}")),
        (Val::Object(object), Val::Text(key)) => match (object.get(key), object.kind) {
            (Some(value), _) => Ok(value.clone()),
            (None, Kind::Map | Kind::NilMap) => Ok(Val::text("")),
            (None, _) => Err(format!("can't index item of type {}", value.type_name())),
        },
        (Val::Text(text), Val::Int(at)) => {
            let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at)).ok_or_else(|| format!("index out of range: {at}"))?;
            Ok(Val::Int(i64::from(*byte)))
        }
        (Val::Nil | Val::Missing, _) => Err("index of untyped nil".into()),
        _ => Err(format!("can't index item of type {}", value.type_name())),
    }
}

fn slice(value: &Val, bounds: &[Val]) -> Result<Val, String> {
    let length = value.len().ok_or_else(|| format!("can't slice item of type {}", value.type_name()))?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(Val::Int(value)) => usize::try_from(*value).ok().filter(|value| *value <= length).ok_or_else(|| format!("index out of range: {value}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    match value {
        Val::Text(text) => text.get(from..to).map(Val::from).ok_or_else(|| format!("invalid slice index: {from} > {to}")),
        Val::List(items) => items.get(from..to).map(|items| Val::list(items.to_vec())).ok_or_else(|| format!("invalid slice index: {from} > {to}")),
        _ => Err(format!("can't slice item of type {}", value.type_name())),
    }
}

/// Go's `fmt.Sprint`: a space between operands when neither is a string.
fn print(args: &[Val]) -> String {
    let mut text = String::new();
    for (at, value) in args.iter().enumerate() {
        if at > 0 && !matches!(value, Val::Text(_)) && !matches!(args[at - 1], Val::Text(_)) {
            text.push(' ');
        }
        text += &value.to_string();
    }
    text
}

/// The verbs that formats use: `%s %v %d %q %x %t %f %g %%`, with `-`, `0`, width and precision.
fn printf(format: &str, args: &[Val]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| c.is_alphabetic() || c == '%').unwrap_or(rest.len());
        let (spec, tail) = rest.split_at(end);
        let Some(verb) = tail.chars().next() else {
            return out + "%!(NOVERB)";
        };
        rest = &tail[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match args.next() {
            Some(value) => out += &verb_text(spec, verb, value),
            None => out += &format!("%!{verb}(MISSING)"),
        }
    }
    out + rest
}

fn verb_text(spec: &str, verb: char, value: &Val) -> String {
    let (flags, numbers) = spec.split_at(spec.find(|c: char| !"-+ 0#".contains(c)).unwrap_or(spec.len()));
    let (width, precision) = numbers.split_once('.').map_or((numbers, None), |(width, precision)| (width, precision.parse::<usize>().ok()));
    let width: usize = if width.is_empty() { 0 } else { width.parse().unwrap_or(usize::MAX) };
    if width > WIDEST || precision.is_some_and(|precision| precision > WIDEST) {
        return if width > WIDEST { "%!(BADWIDTH)".into() } else { "%!(BADPREC)".into() };
    }
    let text = match (verb, value) {
        ('q', value) => format!("{:?}", value.to_string()),
        ('x', Val::Int(value)) => format!("{value:x}"),
        ('x', value) => value.to_string().bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('f', Val::Float(value)) => format!("{value:.*}", precision.unwrap_or(6)),
        ('g', Val::Float(value)) => precision.map_or_else(|| units::shortest(*value), |precision| units::significant(*value, precision)),
        (_, value) => match precision {
            Some(precision) => value.to_string().chars().take(precision).collect(),
            None => value.to_string(),
        },
    };
    let missing = width.saturating_sub(text.chars().count());
    if flags.contains('-') {
        return text + &" ".repeat(missing);
    }
    let fill = if flags.contains('0') { "0" } else { " " };
    fill.repeat(missing) + &text
}

fn as_number(value: &Val) -> Option<f64> {
    match value {
        Val::Int(value) | Val::Duration(value) => Some(*value as f64),
        Val::Uint(value) => Some(*value as f64),
        Val::Float(value) => Some(*value),
        _ => None,
    }
}

fn equal(a: &Val, b: &Val) -> bool {
    match (as_number(a), as_number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => match (a, b) {
            (Val::Nil | Val::Missing, Val::Nil | Val::Missing) => true,
            (Val::Nil | Val::Missing, _) | (_, Val::Nil | Val::Missing) => false,
            (Val::Bool(a), Val::Bool(b)) => a == b,
            _ => a.to_string() == b.to_string(),
        },
    }
}

fn compare(a: &Val, b: &Val) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
        _ => as_number(a)?.partial_cmp(&as_number(b)?),
    }
}
