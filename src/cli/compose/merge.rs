//! One configuration laid over another, as docker does it: what is empty overrides nothing, lists grow, commands are replaced, ports, volumes, configs and
//! secrets are matched by what names them. Networks, volumes, secrets and configs of the stack are replaced whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::is_zero;

/// Lists whose items have a name: the field and the key that names an item.
const NAMED: [(&str, &str); 4] = [("ports", "published"), ("volumes", "target"), ("secrets", "source"), ("configs", "source")];
/// Lists that are one thing.
const WHOLE: [&str; 2] = ["command", "entrypoint"];
/// Fields for which no time at all is as good as nothing.
const DURATIONS: [&str; 8] = ["delay", "interval", "monitor", "start_interval", "start_period", "stop_grace_period", "timeout", "window"];

pub fn over(mut base: Value, other: Value) -> Value {
    let (Value::Object(base_map), Value::Object(other)) = (&mut base, other) else { return base };
    for (key, value) in other {
        match (base_map.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) if key == "services" => {
                for (name, service) in from {
                    match into.get_mut(&name) {
                        Some(Value::Object(known)) => services(known, service),
                        _ => drop(into.insert(name, service)),
                    }
                }
            }
            (Some(Value::Object(into)), Value::Object(from)) if !key.starts_with("x-") => into.extend(from),
            // The version is the same in all, and what a file calls `x-…` at the top is the first one's.
            (Some(_), _) => {}
            (None, _) if key.starts_with("x-") => {}
            (None, value) => drop(base_map.insert(key, value)),
        }
    }
    base
}

fn services(base: &mut Map<String, Value>, other: Value) {
    let Value::Object(other) = other else { return };
    for (key, value) in other {
        match base.get_mut(&key) {
            None => drop(base.insert(key, value)),
            Some(known) => field(&key, known, value),
        }
    }
}

fn field(key: &str, known: &mut Value, value: Value) {
    if let Some((_, name)) = NAMED.iter().find(|(field, _)| *field == key) {
        return named(known, value, name);
    }
    match key {
        key if WHOLE.contains(&key) => *known = value,
        key if DURATIONS.contains(&key) && value == "0s" => {}
        "logging" => logging(known, value),
        "networks" => networks(known, value),
        "ulimits" => entries(known, value),
        _ => deep(known, value),
    }
}

/// Mappings entry by entry, lists one behind the other, the rest replaced where there is something to replace it with.
fn deep(known: &mut Value, value: Value) {
    match (known, value) {
        (Value::Object(known), Value::Object(from)) => {
            for (key, value) in from {
                match known.get_mut(&key) {
                    None => drop(known.insert(key, value)),
                    Some(_) if DURATIONS.contains(&key.as_str()) && value == "0s" => {}
                    Some(known) => deep(known, value),
                }
            }
        }
        (Value::Array(known), Value::Array(from)) => known.extend(from),
        (known, value) if !is_zero(&value) || value.is_number() => *known = value,
        _ => {}
    }
}

fn entries(known: &mut Value, value: Value) {
    if let (Value::Object(known), Value::Object(from)) = (known, value) {
        known.extend(from);
    }
}

fn named(known: &mut Value, value: Value, name: &str) {
    let mut all: BTreeMap<(u64, String), Value> = BTreeMap::new();
    for item in [known.take(), value].into_iter().flat_map(|list| if let Value::Array(items) = list { items } else { Vec::new() }) {
        let key = (item[name].as_u64().unwrap_or(0), item[name].as_str().unwrap_or_default().to_owned());
        all.insert(key, item);
    }
    *known = all.into_values().collect();
}

/// Options are those of a driver: another driver brings its own.
fn logging(known: &mut Value, value: Value) {
    let driver = |logging: &Value| logging["driver"].as_str().unwrap_or_default().to_owned();
    let (before, after) = (driver(known), driver(&value));
    if before == after || before.is_empty() || after.is_empty() { deep(known, value) } else { *known = value }
}

fn networks(known: &mut Value, value: Value) {
    let (Value::Object(known), Value::Object(from)) = (known, value) else { return };
    for (name, network) in from {
        match (known.get_mut(&name), network) {
            (Some(Value::Object(before)), Value::Object(mut after)) => {
                let aliases = after.remove("aliases");
                before.remove("aliases");
                before.extend(aliases.map(|aliases| ("aliases".to_owned(), aliases)));
                after.remove("driver_opts");
                before.extend(after);
            }
            (Some(Value::Object(_)), Value::Null) => {}
            (_, network) => drop(known.insert(name, network)),
        }
    }
}
