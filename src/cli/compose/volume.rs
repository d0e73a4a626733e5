//! `volumes` of a service: `source:target:options`, and the long form.

use serde_json::{Map, Value};

use super::{
    Context,
    fields::{self, given, put},
};

const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

pub fn all(volumes: &Value, context: &Context) -> Result<Value, String> {
    let mut all = Vec::new();
    for volume in volumes.as_array().into_iter().flatten() {
        let mut map = match volume.as_str() {
            Some(text) => parse(text).map_err(|why| fields::undecodable(&format!("Volumes[{}]", all.len()), &why))?,
            None => long(volume),
        };
        if map.get("type").and_then(Value::as_str) == Some("bind") {
            let source = map.get("source").and_then(Value::as_str).unwrap_or_default();
            if source.is_empty() {
                return Err("invalid mount config for type \"bind\": field Source must not be empty".into());
            }
            let source = located(source, context);
            map.insert("source".into(), source.into());
        }
        all.push(Value::Object(map));
    }
    Ok(all.into())
}

/// The path of a bind: `~` is the caller's home, what is relative starts at the first file; a path of Windows stays.
fn located(source: &str, context: &Context) -> String {
    let mut path = source.to_owned();
    if let Some(rest) = source.strip_prefix('~') {
        match context.variable("HOME") {
            Some(home) => path = format!("{home}{rest}"),
            None => context.warn("cannot expand '~', because the environment lacks HOME".into()),
        }
    }
    let mut chars = path.chars();
    let drive = chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':') && chars.next().is_some_and(|c| c == '\\' || c == '/');
    if path.starts_with('/') || path.starts_with("\\\\") || drive { path } else { context.absolute(&path) }
}

fn long(volume: &Value) -> Map<String, Value> {
    let mut map = Map::new();
    for key in ["type", "source", "target", "read_only", "consistency"] {
        put(&mut map, key, volume[key].clone());
    }
    for (part, key) in [("bind", "propagation"), ("volume", "nocopy"), ("tmpfs", "size")] {
        if let Some(options) = given(volume, part) {
            let mut kept = Map::new();
            put(&mut kept, key, options[key].clone());
            if part == "volume" {
                put(&mut kept, "subpath", options["subpath"].clone());
            }
            map.insert(part.into(), kept.into());
        }
    }
    map
}

fn parse(spec: &str) -> Result<Map<String, Value>, String> {
    let mut map = Map::new();
    if spec.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    if spec.len() <= 2 {
        map.insert("type".into(), "volume".into());
        map.insert("target".into(), spec.into());
        return Ok(map);
    }
    let refused = |why: &str| format!("invalid spec: {spec}: {why}");
    let parts = split(spec);
    let mut source = None;
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        match (part.as_str(), &source, map.contains_key("target")) {
            ("", ..) => return Err(refused("empty section between colons")),
            (part, None, _) if !is_last => source = Some(part.to_owned()),
            (part, _, false) => drop(map.insert("target".into(), part.into())),
            _ if !is_last => return Err(refused("too many colons")),
            (part, ..) => options(part, &mut map),
        }
    }
    let is_path = |source: &str| source.starts_with(['.', '/', '~']) || source.starts_with("\\\\") || is_drive(source);
    let kind = if source.as_deref().is_some_and(is_path) { "bind" } else { "volume" };
    map.insert("type".into(), kind.into());
    if let Some(source) = source {
        map.insert("source".into(), source.into());
    }
    Ok(map)
}

fn is_drive(source: &str) -> bool {
    let mut chars = source.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':')
}

/// The parts between colons; the colon behind a single letter belongs to a Windows drive.
fn split(spec: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for c in spec.chars() {
        let is_single_letter = part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
        if c == ':' && !is_single_letter {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    parts
}

fn options(text: &str, map: &mut Map<String, Value>) {
    for option in text.split(',') {
        match option {
            "ro" => drop(map.insert("read_only".into(), true.into())),
            "rw" => drop(map.remove("read_only")),
            "nocopy" => drop(map.insert("volume".into(), serde_json::json!({"nocopy": true}))),
            option if PROPAGATIONS.contains(&option) => drop(map.insert("bind".into(), serde_json::json!({"propagation": option}))),
            _ => {}
        }
    }
}
