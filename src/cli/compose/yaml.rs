//! YAML text as a JSON value, resolved as docker's YAML library resolves it: `yes` is a word, `0644` is octal, `<<` merges, a key stands once.
//!
//! The parser hands over events; this file builds the value from them with a stack of its own, so that nesting costs no recursion here. Bounds: the size
//! of a file, how deep it nests, and how much its aliases unfold to. Only the first document of a file counts, as with docker.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

use super::scalar;

/// A Compose file is written by hand: far below this.
pub const LARGEST_FILE: u64 = 16 << 20;
/// What follows (interpolation, checks, merging) is recursive.
const DEEPEST: usize = 100;
/// Aliases of aliases unfold without end; no file by hand comes near.
const MOST_VALUES: usize = 1_000_000;

/// A list or mapping that is still open.
enum Open {
    List { anchor: usize, items: Vec<Value> },
    Map { anchor: usize, entries: Map<String, Value>, lines: BTreeMap<String, usize>, key: Option<Key>, merged: Vec<Value> },
}

enum Key {
    Name(String),
    /// `<<`: the value's entries are taken over where there are none.
    Merge,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Value>,
    values: usize,
    done: Option<Value>,
}

/// The top-level mapping of a file.
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            // What the parser was about is no news to whoever wrote the line.
            let why = error.info().split_once(", ").filter(|(what, _)| what.starts_with("while ")).map_or(error.info(), |(_, why)| why);
            format!("yaml: line {}: {why}", error.marker().line())
        })?;
        if builder.take(event, span.start.line())? {
            break;
        }
    }
    match builder.done {
        Some(Value::Object(map)) => Ok(map),
        _ => Err("top-level object must be a mapping".into()),
    }
}

impl Builder {
    /// True at the end of the first document.
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<bool, String> {
        match event {
            Event::DocumentEnd | Event::StreamEnd => return Ok(true),
            Event::SequenceStart(anchor, _) => self.begin(Open::List { anchor, items: Vec::new() })?,
            Event::MappingStart(anchor, _) => {
                self.begin(Open::Map { anchor, entries: Map::new(), lines: BTreeMap::new(), key: None, merged: Vec::new() })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(line)?,
            Event::Scalar(text, style, anchor, tag) => {
                let value = resolve(&text, style, tag.as_deref())?;
                if anchor > 0 {
                    self.anchors.insert(anchor, value.clone());
                }
                let is_merge = style == ScalarStyle::Plain && text == "<<";
                self.add(value, is_merge, line)?;
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned().ok_or_else(|| format!("yaml: line {line}: an anchor contains itself"))?;
                self.values += count(&value);
                self.add(value, false, line)?;
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
        }
        Ok(false)
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(format!("yaml: exceeded max depth of {DEEPEST}"));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, line: usize) -> Result<(), String> {
        let (anchor, value) = match self.open.pop() {
            Some(Open::List { anchor, items }) => (anchor, Value::Array(items)),
            Some(Open::Map { anchor, mut entries, merged, .. }) => {
                for value in merged {
                    merge(&mut entries, value)?;
                }
                (anchor, Value::Object(entries))
            }
            None => return Ok(()),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        self.add(value, false, line)
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, value: Value, is_merge: bool, line: usize) -> Result<(), String> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err("yaml: document contains excessive aliasing".into());
        }
        let is_top = self.open.len() == 1;
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { entries, lines, key, merged, .. }) => match (key.take(), value) {
                (None, _) if is_merge => *key = Some(Key::Merge),
                (None, Value::String(name)) => {
                    if let Some(first) = lines.insert(name.clone(), line) {
                        return Err(format!("yaml: unmarshal errors:\n  line {line}: mapping key {name:?} already defined at line {first}"));
                    }
                    *key = Some(Key::Name(name));
                }
                (None, _) if is_top => return Err("top-level object must be a mapping".into()),
                (None, other) => return Err(format!("line {line}: the key {other} must be a string: put it into quotes")),
                (Some(Key::Merge), value) => merged.push(value),
                (Some(Key::Name(name)), value) => {
                    entries.insert(name, value);
                }
            },
        }
        Ok(())
    }
}

fn merge(entries: &mut Map<String, Value>, from: Value) -> Result<(), String> {
    match from {
        Value::Object(map) => {
            for (name, value) in map {
                entries.entry(name).or_insert(value);
            }
            Ok(())
        }
        Value::Array(maps) => maps.into_iter().try_for_each(|map| if map.is_object() { merge(entries, map) } else { merge(entries, Value::Null) }),
        _ => Err("yaml: map merge requires map or sequence of maps as the value".into()),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    match (core, style) {
        (Some("str"), _) => Ok(text.into()),
        (Some(kind @ ("int" | "float" | "bool" | "null")), _) => {
            let value = scalar::resolve(text);
            let fits = match kind {
                "int" => value.is_i64() || value.is_u64(),
                "float" => value.is_number(),
                "bool" => value.is_boolean(),
                _ => value.is_null(),
            };
            if fits { Ok(value) } else { Err(format!("yaml: cannot decode !!str `{text}` as a !!{kind}")) }
        }
        (_, ScalarStyle::Plain) => Ok(scalar::resolve(text)),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_as_docker_reads_them() {
        let text = "a: 0644\nb: yes\nc: ~\nd: 1e3\ne: '5'\nf: [1, x, true]\ng: !!str 7\nh: |\n  x\n  y\ni: 0x1F\nj: 1_000\nk: +7\nl: .5\nm: 08\n";
        let expected = json!({"a": 420, "b": "yes", "c": null, "d": 1000.0, "e": "5", "f": [1, "x", true], "g": "7", "h": "x\ny\n", "i": 31, "j": 1000,
            "k": 7, "l": 0.5, "m": 8.0});
        assert_eq!(Value::Object(parse(text).unwrap()), expected);
    }

    #[test]
    fn anchors_and_merges() {
        let text = "base: &b {x: 1, y: 2}\nmore: &m {z: 3}\none: {<<: *b, y: 5}\ntwo:\n  <<: [*b, *m]\nlist: [*m]\n";
        let read = Value::Object(parse(text).unwrap());
        assert_eq!(read["one"], json!({"x": 1, "y": 5}));
        assert_eq!(read["two"], json!({"x": 1, "y": 2, "z": 3}));
        assert_eq!(read["list"], json!([{"z": 3}]));
    }

    #[test]
    fn what_is_refused() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert_eq!(refused("a: 1\na: 2"), "yaml: unmarshal errors:\n  line 2: mapping key \"a\" already defined at line 1");
        for text in ["", "- a", "3: 4", "x"] {
            assert_eq!(refused(text), "top-level object must be a mapping", "{text}");
        }
        assert!(refused("a:\n  5: 1").contains("line 2: the key 5 must be a string"));
        assert!(refused("a: &x [*x]").contains("contains itself"));
        assert!(refused("a: {<<: 5}").contains("map merge requires map"));
        assert!(refused("a: [1").starts_with("yaml: line"));
        assert!(refused(&format!("a: {}{}", "[".repeat(200), "]".repeat(200))).contains("max depth"));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for at in 1..9 {
            let before = format!("*a{}, ", at - 1).repeat(10);
            bomb += &format!("a{at}: &a{at} [{}]\n", before.trim_end_matches(", "));
        }
        assert_eq!(refused(&bomb), "yaml: document contains excessive aliasing");
    }
}
