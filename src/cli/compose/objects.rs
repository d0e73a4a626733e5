//! Networks, volumes, secrets and configs of a Compose file in canonical form.

use serde_json::{Map, Value, json};

use super::{
    Context,
    fields::{self, given, put},
};

type Read = fn(&str, &Value, &str, &Context) -> Result<Value, String>;

pub const SECTIONS: [(&str, Read); 4] = [("networks", network), ("volumes", volume), ("secrets", secret), ("configs", config)];

/// The version of the file format that gave each kind a name of its own.
const NAMED_SINCE: u64 = 5;
const VOLUMES_NAMED_SINCE: u64 = 4;

fn is_at_least(version: &str, minor: u64) -> bool {
    version.strip_prefix("3.").and_then(|text| text.parse::<u64>().ok()).is_some_and(|found| found >= minor)
}

fn network(name: &str, network: &Value, version: &str, context: &Context) -> Result<Value, String> {
    let mut map = common(network);
    for key in ["internal", "attachable"] {
        put(&mut map, key, network[key].clone());
    }
    let mut ipam = Map::new();
    put(&mut ipam, "driver", network["ipam"]["driver"].clone());
    put(&mut ipam, "config", network["ipam"]["config"].clone());
    put(&mut map, "ipam", ipam.into());
    name_external("network", name, &mut map, network, is_at_least(version, NAMED_SINCE), context)?;
    Ok(map.into())
}

fn volume(name: &str, volume: &Value, version: &str, context: &Context) -> Result<Value, String> {
    let mut map = common(volume);
    if is_external(volume) {
        for key in ["driver", "driver_opts", "labels"] {
            if map.contains_key(key) {
                return Err(format!("conflicting parameters \"external\" and {key:?} specified for volume {name:?}"));
            }
        }
    }
    name_external("volume", name, &mut map, volume, is_at_least(version, VOLUMES_NAMED_SINCE), context)?;
    Ok(map.into())
}

fn secret(name: &str, secret: &Value, version: &str, context: &Context) -> Result<Value, String> {
    file_object("secret", name, secret, version, context)
}

fn config(name: &str, config: &Value, version: &str, context: &Context) -> Result<Value, String> {
    file_object("config", name, config, version, context)
}

fn file_object(kind: &str, name: &str, object: &Value, version: &str, context: &Context) -> Result<Value, String> {
    let mut map = common(object);
    for key in ["file", "template_driver"] {
        put(&mut map, key, object[key].clone());
    }
    if is_external(object) {
        name_external(kind, name, &mut map, object, is_at_least(version, NAMED_SINCE), context)?;
    } else if map.contains_key("driver") {
        if map.contains_key("file") {
            return Err(format!("{kind} {name}: {kind}.driver and {kind}.file conflict; only use {kind}.driver"));
        }
    } else {
        let path = context.absolute(map.get("file").and_then(Value::as_str).unwrap_or_default());
        map.insert("file".into(), path.into());
    }
    Ok(map.into())
}

/// What they all have.
fn common(object: &Value) -> Map<String, Value> {
    let mut map = Map::new();
    for key in ["name", "driver"] {
        put(&mut map, key, object[key].clone());
    }
    put(&mut map, "driver_opts", fields::mapping(&object["driver_opts"]));
    put(&mut map, "labels", fields::mapping(&object["labels"]));
    map.extend(object.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-")).map(|(key, value)| (key.clone(), value.clone())));
    map
}

fn is_external(object: &Value) -> bool {
    given(object, "external").is_some_and(|external| external.is_object() || *external == Value::Bool(true))
}

/// An external object has a name: its own, that of the old `external: {name: …}`, or its key.
fn name_external(kind: &str, name: &str, map: &mut Map<String, Value>, object: &Value, is_old: bool, context: &Context) -> Result<(), String> {
    if !is_external(object) {
        return Ok(());
    }
    map.insert("external".into(), true.into());
    let old = object["external"]["name"].as_str().unwrap_or_default();
    match (old, map.contains_key("name")) {
        ("", true) => {}
        ("", false) => drop(map.insert("name".into(), json!(name))),
        (_, true) => return Err(format!("{kind} {name}: {kind}.external.name and {kind}.name conflict; only use {kind}.name")),
        (old, false) => {
            if is_old {
                context.warn(format!("{kind} {name}: {kind}.external.name is deprecated in favor of {kind}.name"));
            }
            map.insert("name".into(), json!(old));
        }
    }
    Ok(())
}
