//! A configuration as YAML, byte for byte as docker shows it: two spaces a level, keys in the order of `order`, quotes only where a text needs them.

use serde_json::{Map, Value};

use super::{
    order::{self, Part},
    scalar::{self, Style},
};

pub fn emit(config: &Value) -> String {
    let mut shown = String::new();
    if let Value::Object(map) = config {
        mapping(&mut shown, map, Some(&order::CONFIG), 0);
    }
    shown
}

fn mapping(shown: &mut String, map: &Map<String, Value>, part: Option<&Part>, level: usize) {
    let known = part.map_or(&[][..], |part| part.keys);
    let position = |key: &str| known.iter().position(|name| *name == key).unwrap_or(known.len());
    let mut entries: Vec<_> = map.iter().collect();
    // Keys of a map come by name, numbers in them by value.
    entries.sort_by(|(a, _), (b, _)| position(a).cmp(&position(b)).then_with(|| natural(a, b)));
    for (key, value) in entries {
        indent(shown, level);
        shown.push_str(&text(key, level));
        shown.push(':');
        below(shown, value, part.and_then(|part| part.child(key)), level);
    }
}

/// The value behind a key.
fn below(shown: &mut String, value: &Value, part: Option<&Part>, level: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            shown.push('\n');
            mapping(shown, map, part, level + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            shown.push('\n');
            list(shown, items, part, level + 1);
        }
        other => {
            shown.push(' ');
            scalar_line(shown, other, level + 1);
        }
    }
}

fn list(shown: &mut String, items: &[Value], part: Option<&Part>, level: usize) {
    for item in items {
        indent(shown, level);
        shown.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => {
                let mut inner = String::new();
                mapping(&mut inner, map, part, level + 1);
                shown.push_str(inner.trim_start_matches(' '));
            }
            Value::Array(inner_items) if !inner_items.is_empty() => {
                let mut inner = String::new();
                list(&mut inner, inner_items, part, level + 1);
                shown.push_str(inner.trim_start_matches(' '));
            }
            other => scalar_line(shown, other, level + 1),
        }
    }
}

fn scalar_line(shown: &mut String, value: &Value, level: usize) {
    match value {
        Value::Null => shown.push_str("null"),
        Value::Array(_) => shown.push_str("[]"),
        Value::Object(_) => shown.push_str("{}"),
        Value::String(line) => shown.push_str(&text(line, level)),
        other => shown.push_str(&scalar::text(other)),
    }
    shown.push('\n');
}

fn indent(shown: &mut String, level: usize) {
    shown.extend(std::iter::repeat_n("  ", level));
}

fn text(text: &str, level: usize) -> String {
    match scalar::style(text) {
        Style::Plain => text.to_owned(),
        Style::Single => format!("'{}'", text.replace('\'', "''")),
        Style::Double => double(text),
        Style::Literal => literal(text, level),
    }
}

fn double(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\0"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `|` with its lines below; the line break at the end is kept, dropped or repeated as the text has it.
fn literal(text: &str, level: usize) -> String {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let mark = match (text.ends_with('\n'), body.ends_with('\n')) {
        (true, true) => "|+",
        (true, false) => "|",
        (false, _) => "|-",
    };
    // Where the first line begins with blanks, the depth cannot be read off it.
    let depth = if body.starts_with([' ', '\n']) { "2" } else { "" };
    let mut shown = mark.replacen('|', &format!("|{depth}"), 1);
    for line in body.split('\n') {
        shown.push('\n');
        if !line.is_empty() {
            indent(&mut shown, level);
            shown.push_str(line);
        }
    }
    shown
}

/// The order of keys in a map: letters before digits' text, numbers by value.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (a_chars, b_chars): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut digits = false;
    for at in 0..a_chars.len().min(b_chars.len()) {
        let (x, y) = (a_chars[at], b_chars[at]);
        if x == y {
            digits = x.is_ascii_digit();
            continue;
        }
        let (x_letter, y_letter) = (x.is_alphabetic(), y.is_alphabetic());
        if x_letter && y_letter {
            return x.cmp(&y);
        }
        if x_letter || y_letter {
            let letter_first = if digits { x_letter } else { y_letter };
            return if letter_first { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
        }
        let run = |chars: &[char]| chars[at..].iter().take_while(|c| c.is_ascii_digit()).collect::<String>();
        let value = |text: &str| text.parse::<u64>().unwrap_or(0);
        let (left, right) = (run(&a_chars), run(&b_chars));
        return value(&left).cmp(&value(&right)).then(left.len().cmp(&right.len())).then(x.cmp(&y));
    }
    a_chars.len().cmp(&b_chars.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_need_quotes() {
        let labels = json!({"a: b": "", "c": "#x", "d": "- q", "e": "x\ny", "f": "5", "g": "a 'b'", "h": "'a'", "i": "x\ty", "j": " a\nb\n"});
        let shown = emit(&json!({"services": {"w": {"labels": labels, "networks": {"y": null}}}}));
        let expected = "services:\n  w:\n    labels:\n      'a: b': \"\"\n      c: '#x'\n      d: '- q'\n      e: |-\n        x\n        y\n      f: \"5\"\n      \
                        g: a 'b'\n      h: '''a'''\n      i: \"x\\ty\"\n      j: |2\n         a\n        b\n    networks:\n      \"y\": null\n";
        assert_eq!(shown, expected);
    }
}
