//! From a configuration to what the Engine API takes: service specs, networks, secrets and configs of a stack, field by field what docker sends.

mod mounts;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

pub use service::spec;

use super::fields::put;
use crate::cli::{errors::Error, service::options::os_text};

/// On all that belongs to a stack.
pub const NAMESPACE: &str = "com.docker.stack.namespace";
/// The image of a service as the file has it.
pub const IMAGE: &str = "com.docker.stack.image";
pub const DEFAULT_NETWORK: &str = "default";

/// A stack's name, which stands before the names of all that it owns.
#[derive(Clone, Copy)]
pub struct Namespace<'a>(pub &'a str);

impl Namespace<'_> {
    pub fn scope(self, name: &str) -> String {
        format!("{}_{name}", self.0)
    }

    /// A name without the stack's.
    pub fn descope(self, name: &str) -> &str {
        name.strip_prefix(self.0).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name)
    }

    /// Labels with that of the stack.
    fn labels(self, labels: &Value) -> Value {
        let mut map = labels.as_object().cloned().unwrap_or_default();
        map.insert(NAMESPACE.into(), self.0.into());
        map.into()
    }

    /// The name of an object: its own, else its key behind the stack's.
    fn object(self, key: &str, object: &Value) -> String {
        object["name"].as_str().map_or_else(|| self.scope(key), str::to_owned)
    }
}

/// Networks that the services use: those to make by name, and the names of those that must be there.
pub fn networks(namespace: Namespace<'_>, config: &Value) -> (BTreeMap<String, Value>, Vec<String>) {
    let used: BTreeSet<&str> = config["services"].as_object().into_iter().flatten().flat_map(|(_, service)| attached(service)).collect();
    let (mut made, mut external) = (BTreeMap::new(), Vec::new());
    for key in used {
        let network = &config["networks"][key];
        if network["external"] == Value::Bool(true) {
            external.push(network["name"].as_str().unwrap_or(key).to_owned());
            continue;
        }
        let mut body = Map::new();
        body.insert("Labels".into(), namespace.labels(&network["labels"]));
        put(&mut body, "Driver", network["driver"].clone());
        put(&mut body, "Options", network["driver_opts"].clone());
        for (field, key) in [("Internal", "internal"), ("Attachable", "attachable")] {
            put(&mut body, field, network[key].clone());
        }
        if network["ipam"].is_object() {
            let pools: Vec<Value> = network["ipam"]["config"].as_array().into_iter().flatten().map(|pool| json!({"Subnet": pool["subnet"]})).collect();
            body.insert("IPAM".into(), json!({"Driver": network["ipam"]["driver"].as_str().unwrap_or_default(), "Config": pools}));
        }
        made.insert(namespace.object(key, network), body.into());
    }
    (made, external)
}

/// Keys of the networks of a service.
fn attached(service: &Value) -> Vec<&str> {
    match service["networks"].as_object() {
        Some(networks) if !networks.is_empty() => networks.keys().map(String::as_str).collect(),
        _ => vec![DEFAULT_NETWORK],
    }
}

/// Specs of the secrets (`kind` "secrets") or configs of the stack that are not external.
pub fn file_objects(namespace: Namespace<'_>, config: &Value, kind: &str) -> Result<Vec<Value>, Error> {
    let mut specs = Vec::new();
    for (key, object) in config[kind].as_object().into_iter().flatten().filter(|(_, object)| object["external"] != Value::Bool(true)) {
        let mut spec = Map::new();
        spec.insert("Name".into(), namespace.object(key, object).into());
        spec.insert("Labels".into(), namespace.labels(&object["labels"]));
        match object["driver"].as_str().filter(|_| kind == "secrets") {
            Some(driver) => drop(spec.insert("Driver".into(), json!({"Name": driver, "Options": object["driver_opts"]}))),
            None => {
                let path = object["file"].as_str().unwrap_or_default();
                let data = std::fs::read(path).map_err(|error| Error::Plain(format!("open {path}: {}", os_text(&error))))?;
                spec.insert("Data".into(), STANDARD.encode(data).into());
            }
        }
        if let Some(template) = object["template_driver"].as_str() {
            spec.insert("Templating".into(), json!({"Name": template}));
        }
        specs.push(spec.into());
    }
    Ok(specs)
}
