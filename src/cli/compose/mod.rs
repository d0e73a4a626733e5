//! Compose files (version 3, what `docker stack` reads): from YAML texts to one configuration in a canonical form, and from that to what the Engine API wants.
//!
//! `yaml` reads, `interpolate` fills variables in, `schema` refuses, `service` and `objects` bring short and long forms into one, `merge` lays files over
//! each other, `emit` shows the result, `convert` makes service specs of it. Values stay JSON throughout; the canonical form has the file format's keys.
//! Pure but for environment files and the files of configs and secrets. Talks to no daemon.

pub mod convert;
mod deploy;
mod emit;
mod env;
pub mod fields;
mod interpolate;
mod merge;
mod objects;
mod order;
mod ports;
mod scalar;
mod schema;
mod service;
mod volume;
mod yaml;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

pub use emit::emit;

use super::{errors::Error, format::reference, output, service::options::os_text};

/// Keys that a stack has no use for: they are named and left out.
const UNSUPPORTED: [&str; 16] = [
    "build",
    "cgroup_parent",
    "cgroupns_mode",
    "devices",
    "domainname",
    "external_links",
    "ipc",
    "links",
    "mac_address",
    "network_mode",
    "pid",
    "privileged",
    "restart",
    "security_opt",
    "shm_size",
    "userns_mode",
];
const DEPRECATED: [(&str, &str); 2] = [
    ("container_name", "Setting the container name is not supported."),
    ("expose", "Exposing ports is unnecessary - services on the same network can access each other's containers on any port."),
];
const LIMITS: &str = "Set resource limits using deploy.resources";
const FORBIDDEN: [(&str, &str); 8] = [
    ("cpu_quota", LIMITS),
    ("cpu_shares", LIMITS),
    ("cpuset", LIMITS),
    ("extends", "Support for `extends` is not implemented yet."),
    ("mem_limit", LIMITS),
    ("memswap_limit", LIMITS),
    (
        "volume_driver",
        "Instead of setting the volume driver on the service, define a volume using the top-level `volumes` option and specify the driver there.",
    ),
    (
        "volumes_from",
        "To share a volume between services, define it using the top-level `volumes` option and reference it from each service that shares it using the \
         service-level `volumes` option.",
    ),
];

/// What reading a file needs beside its text.
pub struct Context {
    /// Relative paths start here: where the first file is.
    folder: PathBuf,
    env: BTreeMap<String, String>,
    warnings: RefCell<Vec<String>>,
}

impl Context {
    fn variable(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    fn warn(&self, text: String) {
        self.warnings.borrow_mut().push(text);
    }

    /// `path` from where the first file is.
    fn absolute(&self, path: &str) -> String {
        let joined = self.folder.join(path);
        let mut clean = PathBuf::new();
        for part in joined.components() {
            match part {
                std::path::Component::CurDir => {}
                std::path::Component::ParentDir => drop(clean.pop()),
                other => clean.push(other),
            }
        }
        clean.to_string_lossy().into_owned()
    }
}

/// Files as they were read, before anything is looked at.
pub struct Files {
    context: Context,
    texts: Vec<Map<String, Value>>,
}

/// Reads the files that `--compose-file` names.
pub fn read(names: &[String]) -> Result<Files, Error> {
    let first = names.first().ok_or_else(|| Error::plain("specify a Compose file (with --compose-file)"))?;
    let here = std::env::current_dir()?;
    let folder = match (first.as_str(), names.len()) {
        ("-", 1) => here,
        _ => here.join(first).parent().map_or(here, Path::to_path_buf),
    };
    let texts = names.iter().map(|name| yaml::parse(&text(name)?).map_err(Error::Plain)).collect::<Result<_, _>>()?;
    // A variable that is no text cannot be filled in.
    let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    Ok(Files { context: Context { folder, env, warnings: RefCell::default() }, texts })
}

fn text(name: &str) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let limit = yaml::LARGEST_FILE + 1;
    let read = if name == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(name).map_err(|error| Error::Plain(format!("open {name}: {}", os_text(&error))))?.take(limit).read_to_end(&mut bytes)
    };
    read.map_err(|error| Error::Plain(format!("read {name}: {}", os_text(&error))))?;
    if bytes.len() as u64 > yaml::LARGEST_FILE {
        return Err(Error::Plain(format!("{name}: a Compose file has at most {} MiB", yaml::LARGEST_FILE >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| Error::Plain("yaml: invalid leading UTF-8 octet".into()))
}

/// Why a file is not taken.
enum Refusal {
    Forbidden(Vec<(&'static str, &'static str)>),
    Said(String),
}

impl Files {
    /// One configuration out of all files; `interpolates` is off to see variables as they stand.
    pub fn merged(&self, interpolates: bool) -> Result<Value, Error> {
        self.load(interpolates).map_err(|refusal| match refusal {
            Refusal::Forbidden(_) => Error::plain("Configuration contains forbidden properties"),
            Refusal::Said(text) => Error::Plain(text),
        })
    }

    /// The configuration to deploy: what a stack cannot use is named, and every service has an image.
    pub fn deployable(&self) -> Result<Value, Error> {
        let config = self.load(true).map_err(|refusal| match refusal {
            Refusal::Forbidden(keys) => Error::Plain(format!("compose file contains unsupported options:\n\n{}\n", explained(&keys))),
            Refusal::Said(text) => Error::Plain(text),
        })?;
        let used = self.used_keys();
        let unsupported: Vec<&str> = UNSUPPORTED.into_iter().filter(|key| used.contains(key)).collect();
        if !unsupported.is_empty() {
            output::warn(&format!("Ignoring unsupported options: {}\n", unsupported.join(", ")));
        }
        let deprecated: Vec<_> = DEPRECATED.into_iter().filter(|(key, _)| used.contains(key)).collect();
        if !deprecated.is_empty() {
            output::warn(&format!("Ignoring deprecated options:\n\n{}\n", explained(&deprecated)));
        }
        for (name, service) in config["services"].as_object().into_iter().flatten() {
            let image = service["image"].as_str().unwrap_or_default();
            let refused = |why: &str| Err(Error::Plain(format!("invalid image reference for service {name}: {why}")));
            if image.is_empty() {
                return refused("no image specified");
            }
            if let Some(why) = reference::fault(image) {
                return refused(&why);
            }
        }
        Ok(config)
    }

    fn load(&self, interpolates: bool) -> Result<Value, Refusal> {
        let loaded = self.load_quietly(interpolates);
        for warning in self.context.warnings.take() {
            output::warn(&format!("WARNING: {warning}"));
        }
        loaded
    }

    fn load_quietly(&self, interpolates: bool) -> Result<Value, Refusal> {
        let mut versions = self.texts.iter().map(schema::version);
        let first = versions.next().unwrap_or_default();
        if let Some(other) = versions.find(|version| *version != first) {
            return Err(Refusal::Said(format!("version mismatched between two composefiles : {first} and {other}")));
        }
        let mut merged: Option<Value> = None;
        for text in &self.texts {
            let forbidden: Vec<_> = FORBIDDEN.into_iter().filter(|(key, _)| services(text).any(|service| service.contains_key(*key))).collect();
            if !forbidden.is_empty() {
                return Err(Refusal::Forbidden(forbidden));
            }
            let config = self.one(text.clone(), &first, interpolates).map_err(Refusal::Said)?;
            merged = Some(match merged {
                None => config,
                Some(base) => merge::over(base, config),
            });
        }
        Ok(merged.unwrap_or_default())
    }

    /// One file in canonical form.
    fn one(&self, text: Map<String, Value>, version: &str, interpolates: bool) -> Result<Value, String> {
        let context = &self.context;
        let config = if interpolates { interpolate::all(text, &|name| context.variable(name))? } else { text };
        schema::validate(&config, version)?;
        let mut canonical = Map::new();
        canonical.insert("version".into(), version.into());
        let section = |key: &str| config.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut services = Map::new();
        for (name, service) in section("services") {
            services.insert(name, service::canonical(&service, context)?);
        }
        canonical.insert("services".into(), services.into());
        for (key, read) in objects::SECTIONS {
            let mut read_section = Map::new();
            for (name, object) in section(key) {
                read_section.insert(name.clone(), read(&name, &object, version, context)?);
            }
            if !read_section.is_empty() {
                canonical.insert(key.into(), read_section.into());
            }
        }
        canonical.extend(config.into_iter().filter(|(key, _)| key.starts_with("x-")));
        Ok(canonical.into())
    }

    fn used_keys(&self) -> BTreeSet<&str> {
        self.texts.iter().flat_map(services).flat_map(|service| service.keys().map(String::as_str)).collect()
    }
}

/// The services of one file as they were written.
fn services(text: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    text.get("services").and_then(Value::as_object).into_iter().flat_map(|services| services.values()).filter_map(Value::as_object)
}

fn explained(keys: &[(&str, &str)]) -> String {
    keys.iter().map(|(key, why)| format!("{key}: {why}")).collect::<Vec<_>>().join("\n\n")
}
