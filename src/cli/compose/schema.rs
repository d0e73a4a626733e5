//! What a Compose file may hold: `schema.json` (the Compose file format 3.0 to 3.13 in one; `$since` says in which version a key came), and the one fault
//! of a file that is worth saying, chosen and worded as docker does it.
//!
//! Knows the part of JSON Schema that the file uses: type, properties, patternProperties, additionalProperties, required, items, uniqueItems, oneOf, enum,
//! minimum, format, $ref.

use serde_json::{Map, Value};

use super::ports;
use crate::cli::args::values;

/// The version of a file that names none, or only "3".
pub const LATEST: &str = "3.13";

/// The version of a file, in full.
pub fn version(config: &Map<String, Value>) -> String {
    match config.get("version") {
        None => LATEST.into(),
        Some(given) => match super::scalar::text(given).as_str() {
            "" | "3" => LATEST.into(),
            other => other.to_owned(),
        },
    }
}

/// The minor number of a 3.x version that exists.
fn minor(version: &str) -> Option<u64> {
    let minor = version.strip_prefix("3.")?;
    let number: u64 = minor.parse().ok()?;
    (number <= 13 && minor == number.to_string()).then_some(number)
}

pub fn validate(config: &Map<String, Value>, version: &str) -> Result<(), String> {
    let minor = minor(version).ok_or_else(|| format!("unsupported Compose file version: {version}"))?;
    let schema: Value = serde_json::from_str(include_str!("schema.json")).map_err(|error| format!("the schema cannot be read: {error}"))?;
    let checker = Checker { root: &schema, minor };
    let mut found = Findings::default();
    checker.check(&schema, &Value::Object(config.clone()), "", &mut found);
    found.worst().map_or(Ok(()), Err)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    WrongType,
    NoneOf,
    Other,
}

struct Fault {
    field: String,
    kind: Kind,
    text: String,
}

/// The faults so far; the score says how much was right, so that the nearest alternative can be told.
#[derive(Default)]
struct Findings {
    faults: Vec<Fault>,
    score: i64,
}

impl Findings {
    fn add(&mut self, field: &str, kind: Kind, text: String) {
        self.faults.push(Fault { field: field.to_owned(), kind, text });
        self.score -= 2;
    }

    fn join(&mut self, other: Findings) {
        self.faults.extend(other.faults);
        self.score += other.score;
    }

    /// The fault furthest inside; a wrong type before others there.
    fn worst(&self) -> Option<String> {
        let depth = |fault: &Fault| fault.field.split('.').count();
        let mut chosen = 0;
        for (at, fault) in self.faults.iter().enumerate() {
            let best = self.faults.get(chosen)?;
            let wins_tie = depth(fault) == depth(best) && fault.kind == Kind::WrongType && best.kind != Kind::WrongType;
            if depth(fault) > depth(best) || wins_tie {
                chosen = at;
            }
        }
        let fault = self.faults.get(chosen)?;
        let said = match self.faults.get(chosen + 1) {
            Some(child) if fault.kind == Kind::NoneOf => child,
            _ => fault,
        };
        let field = if fault.field.is_empty() { "(root)" } else { &fault.field };
        Some(format!("{field} {}", said.text))
    }
}

struct Checker<'a> {
    root: &'a Value,
    minor: u64,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, field: &str, found: &mut Findings) {
        if let Some(target) = schema["$ref"].as_str().and_then(|name| self.root.pointer(name.trim_start_matches('#'))) {
            return self.check(target, value, field, found);
        }
        if let Some(text) = unmet_type(&schema["type"], value) {
            return found.add(field, Kind::WrongType, text);
        }
        self.alternatives(schema, value, field, found);
        found.score += 1;
        match value {
            Value::Object(map) => self.object(schema, map, field, found),
            Value::Array(items) => self.array(schema, items, field, found),
            _ => {}
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            let listed: Vec<_> = allowed.iter().map(Value::to_string).collect();
            found.add(field, Kind::Other, format!("{field} must be one of the following: {}", listed.join(", ")));
        }
        if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
            && number < least
        {
            found.add(field, Kind::Other, format!("Must be greater than or equal to {least}"));
        }
        if let Some(format) = schema["format"].as_str().filter(|_| value.is_string() || value.is_number())
            && !has_format(format, value)
        {
            found.add(field, Kind::Other, format!("Does not match format '{format}'"));
        }
        if let (Value::Object(map), Some(properties)) = (value, schema["properties"].as_object()) {
            for (name, child) in properties {
                if let Some(value) = map.get(name).filter(|_| self.exists(child)) {
                    self.check(child, value, &below(field, name), found);
                }
            }
        }
        found.score += if value.is_string() || value.is_number() || value.is_boolean() { 4 } else { 3 };
    }

    /// Whether a key of the schema is in the file's version.
    fn exists(&self, schema: &Value) -> bool {
        schema["$since"].as_u64().is_none_or(|since| since <= self.minor)
    }

    fn alone(&self, schema: &Value, value: &Value, field: &str) -> Findings {
        let mut found = Findings::default();
        self.check(schema, value, field, &mut found);
        found
    }

    fn alternatives(&self, schema: &Value, value: &Value, field: &str, found: &mut Findings) {
        let Some(schemas) = schema["oneOf"].as_array() else { return };
        let mut met = 0;
        let mut nearest: Option<Findings> = None;
        for schema in schemas {
            let tried = self.alone(schema, value, field);
            if tried.faults.is_empty() {
                met += 1;
            } else if nearest.as_ref().is_none_or(|nearest| tried.score > nearest.score) {
                nearest = Some(tried);
            }
        }
        if met != 1 {
            found.add(field, Kind::NoneOf, "Must validate one and only one schema (oneOf)".into());
            if let Some(nearest) = nearest.filter(|_| met == 0) {
                found.join(nearest);
            }
        }
    }

    fn object(&self, schema: &Value, map: &Map<String, Value>, field: &str, found: &mut Findings) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if map.contains_key(name) {
                found.score += 1;
            } else {
                found.add(field, Kind::Other, format!("{name} is required"));
            }
        }
        for (name, value) in map {
            let known = schema["properties"].get(name).is_some_and(|child| self.exists(child));
            let pattern = schema["patternProperties"].as_object().into_iter().flatten().find(|(pattern, _)| fits_pattern(pattern, name));
            if let Some((_, child)) = pattern {
                found.join(self.alone(child, value, &below(field, name)));
                found.score += 1;
            } else if !known && schema["additionalProperties"] == Value::Bool(false) {
                found.add(field, Kind::Other, format!("Additional property {name} is not allowed"));
            }
        }
    }

    fn array(&self, schema: &Value, items: &[Value], field: &str, found: &mut Findings) {
        if schema["items"].is_object() {
            for (at, item) in items.iter().enumerate() {
                found.join(self.alone(&schema["items"], item, &below(field, &at.to_string())));
            }
        }
        if schema["uniqueItems"] == Value::Bool(true) {
            let mut seen: Vec<(&Value, usize)> = Vec::new();
            for (at, item) in items.iter().enumerate() {
                match seen.iter_mut().find(|(earlier, _)| *earlier == item) {
                    Some((_, before)) => {
                        found.add(field, Kind::Other, format!("array items[{before},{at}] must be unique"));
                        *before = at;
                    }
                    None => seen.push((item, at)),
                }
            }
        }
    }
}

fn below(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

/// `None` where the type is right; else what it must be, in docker's words.
fn unmet_type(wanted: &Value, value: &Value) -> Option<String> {
    let names: Vec<&str> = match wanted {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => false,
    };
    if names.iter().any(|name| is(name)) {
        return None;
    }
    let words: Vec<&str> = names
        .iter()
        .map(|name| match *name {
            "object" => "mapping",
            "array" => "list",
            other => other,
        })
        .collect();
    let listed = match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    };
    Some(format!("must be a {listed}"))
}

/// The few patterns that the schema has.
fn fits_pattern(pattern: &str, name: &str) -> bool {
    match pattern {
        "^x-" => name.starts_with("x-"),
        "^[a-zA-Z0-9._-]+$" => !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
        "^[a-z]+$" => !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()),
        _ => !name.is_empty(),
    }
}

fn has_format(format: &str, value: &Value) -> bool {
    match format {
        "duration" => value.as_str().is_some_and(|text| values::parse_duration(text).is_ok()),
        "ports" => ports::parse(&super::scalar::text(value)).is_ok(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let config = super::super::yaml::parse(text).unwrap();
        validate(&config, &version(&config)).unwrap_err()
    }

    #[test]
    fn every_pattern_of_the_schema_is_known() {
        let text = include_str!("schema.json");
        let patterns = text.match_indices("\"^").chain(text.match_indices("\".+")).map(|(at, _)| text[at + 1..].split('"').next().unwrap_or_default());
        for pattern in patterns {
            assert!(["^x-", "^[a-zA-Z0-9._-]+$", "^[a-z]+$", "^.+$", ".+"].contains(&pattern), "{pattern}");
        }
    }

    #[test]
    fn faults_in_dockers_words() {
        for (text, said) in [
            ("services: {w: {image: 5}}", "services.w.image must be a string"),
            ("services: {w: {imag: a}}", "services.w Additional property imag is not allowed"),
            ("foo: 1", "(root) Additional property foo is not allowed"),
            ("services: {w: {ports: [x]}}", "services.w.ports.0 Does not match format 'ports'"),
            ("services: {w: {volumes: [{source: a}]}}", "services.w.volumes.0 type is required"),
            ("services: {w: {ports: ['80:80', '80:80']}}", "services.w.ports array items[0,1] must be unique"),
            ("services: {w: {deploy: 5}}", "services.w.deploy must be a mapping or null"),
            ("version: '3.1'\nservices: {w: {init: true}}", "services.w Additional property init is not allowed"),
            ("version: '4'\nservices: {}", "unsupported Compose file version: 4"),
        ] {
            assert_eq!(refused(text), said, "{text}");
        }
    }
}
