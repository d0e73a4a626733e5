//! JSON as Go writes it: struct fields in their order, map keys sorted, `<`, `>` and `&` escaped where Go's `Marshal` escapes them.

use super::value::{Kind, Val};
use crate::cli::format::{shape, units};

/// `json.MarshalIndent(value, "", "    ")`.
pub fn indented(value: &Val) -> String {
    let mut out = String::new();
    write(value, true, &mut out);
    indent_raw(&out)
}

/// One line; `escape_html` as `json.Marshal` does and docker's `json` function does not.
pub fn compact(value: &Val, escape_html: bool) -> String {
    let mut out = String::new();
    write(value, escape_html, &mut out);
    out
}

fn write(value: &Val, escape_html: bool, out: &mut String) {
    match value {
        Val::Nil | Val::Missing => out.push_str("null"),
        Val::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Val::Int(value) | Val::Duration(value) => out.push_str(&value.to_string()),
        Val::Uint(value) => out.push_str(&value.to_string()),
        Val::Float(value) => out.push_str(&units::shortest(*value)),
        Val::Text(text) | Val::Time(text) => write_text(text, escape_html, out),
        Val::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, escape_html, out);
            }
            out.push(']');
        }
        Val::Object(object) => match object.kind {
            Kind::Struct(shape) => {
                let fields = shape.fields.iter().zip(&object.fields).filter(|(field, (_, value))| !shape::is_omitted(field, value));
                write_fields(fields.map(|(field, (_, value))| (field.json, value)), escape_html, out);
            }
            // A row is marshalled by a method of its own, which escapes whatever the encoder around it does.
            Kind::Row(_) => write_fields(visible(&object.sorted()), true, out),
            Kind::NilMap => out.push_str("null"),
            Kind::Map | Kind::Header => write_fields(visible(&object.sorted()), escape_html, out),
        },
    }
}

/// Without the fields that only methods read.
fn visible<'a>(fields: &[&'a (String, Val)]) -> impl Iterator<Item = (&'a str, &'a Val)> {
    fields.iter().map(|(key, value)| (key.as_str(), value)).filter(|(key, _)| !key.starts_with('\0')).collect::<Vec<_>>().into_iter()
}

fn write_fields<'a>(fields: impl Iterator<Item = (&'a str, &'a Val)>, escape_html: bool, out: &mut String) {
    out.push('{');
    for (at, (key, value)) in fields.enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_text(key, escape_html, out);
        out.push(':');
        write(value, escape_html, out);
    }
    out.push('}');
}

fn write_text(text: &str, escape_html: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if escape_html => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `json.Indent(raw, "", "    ")`: only white space changes, numbers and strings stay byte for byte.
pub fn indent_raw(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() * 2);
    let mut depth = 0usize;
    let mut opened = false;
    let mut in_text = false;
    let mut escaped = false;
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"    ".repeat(depth));
    };
    for c in raw.chars() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if opened && c != ']' && c != '}' {
            depth += 1;
            newline(&mut out, depth);
        }
        match c {
            ']' | '}' if opened => out.push(c),
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                in_text = c == '"';
                out.push(c);
            }
        }
        opened = c == '[' || c == '{';
    }
    out
}
