//! Volumes of a service as mounts of its tasks.

use serde_json::{Map, Value, json};

use super::{super::fields::put, Namespace};

/// The parts that belong to one kind of mount, and how docker names them when they stand at another.
const PARTS: [(&str, &str, &str); 3] = [("bind", "bind", "bind options"), ("volume", "volume", "volume options"), ("tmpfs", "tmpfs", "tmpfs options")];

pub fn all(volumes: &Value, stack: &Value, namespace: Namespace<'_>) -> Result<Vec<Value>, String> {
    volumes.as_array().into_iter().flatten().map(|volume| mount(volume, stack, namespace)).collect()
}

fn mount(volume: &Value, stack: &Value, namespace: Namespace<'_>) -> Result<Value, String> {
    let kind = volume["type"].as_str().unwrap_or("volume");
    let source = volume["source"].as_str().unwrap_or_default();
    let own: &[&str] = match kind {
        "volume" => &["volume"],
        "bind" | "npipe" => &["bind"],
        "tmpfs" => &["tmpfs"],
        "cluster" | "image" => &[],
        _ => return Err("volume type must be volume, bind, tmpfs, npipe, or cluster".into()),
    };
    if source.is_empty() && !["volume", "tmpfs"].contains(&kind) {
        return Err(format!("invalid {kind} source, source cannot be empty"));
    }
    if kind == "tmpfs" && !source.is_empty() {
        return Err("invalid tmpfs source, source must be empty".into());
    }
    if let Some((_, _, words)) = PARTS.iter().find(|(part, ..)| volume.get(part).is_some() && !own.contains(part)) {
        return Err(format!("{words} are incompatible with type {kind}"));
    }
    let mut mount = Map::new();
    mount.insert("Type".into(), kind.into());
    mount.insert("Target".into(), volume["target"].as_str().unwrap_or_default().into());
    put(&mut mount, "Source", source.into());
    put(&mut mount, "ReadOnly", volume["read_only"].clone());
    put(&mut mount, "Consistency", volume["consistency"].clone());
    match kind {
        "volume" if !source.is_empty() => named(&mut mount, volume, source, stack, namespace)?,
        "bind" | "npipe" if volume["bind"].is_object() => {
            let mut options = Map::new();
            put(&mut options, "Propagation", volume["bind"]["propagation"].clone());
            mount.insert("BindOptions".into(), options.into());
        }
        "tmpfs" if volume["tmpfs"].is_object() => {
            let mut options = Map::new();
            put(&mut options, "SizeBytes", volume["tmpfs"]["size"].clone());
            mount.insert("TmpfsOptions".into(), options.into());
        }
        _ => {}
    }
    Ok(mount.into())
}

fn named(mount: &mut Map<String, Value>, volume: &Value, source: &str, stack: &Value, namespace: Namespace<'_>) -> Result<(), String> {
    let object = stack.get(source).ok_or_else(|| format!("undefined volume {source:?}"))?;
    mount.insert("Source".into(), namespace.object(source, object).into());
    let mut options = Map::new();
    put(&mut options, "NoCopy", volume["volume"]["nocopy"].clone());
    put(&mut options, "Subpath", volume["volume"]["subpath"].clone());
    if object["external"] != Value::Bool(true) {
        options.insert("Labels".into(), namespace.labels(&object["labels"]));
        if object.get("driver").is_some() || object.get("driver_opts").is_some() {
            options.insert("DriverConfig".into(), json!({"Name": object["driver"].as_str().unwrap_or_default(), "Options": object["driver_opts"]}));
        }
    }
    mount.insert("VolumeOptions".into(), options.into());
    Ok(())
}
