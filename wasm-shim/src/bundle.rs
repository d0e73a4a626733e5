//! Reading a bundle: `config.json` (OCI runtime spec) and its annotations into what a task needs.
//!
//! Owns: what is accepted. Invariant: a setting that this shim does not honour is refused by name, never ignored: a task that would run
//! with less than it asked for does not run. Writes `exit.json` through the log writer, not here.

use crate::{
    cpu::{CpuLimit, DEFAULT_PERIOD},
    guest::Identity,
    net::NetSpec,
    preopens::{self, Folder, Preopens},
};
use oci_spec::runtime::{Mount, Spec};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use wsw_api::{
    id::ServiceId,
    log::{Bounds, MAX_LOG_FILES},
    outbound::Outbound,
    shim,
};

/// Mounts of one task; the planner's bound.
const MAX_FOLDERS: usize = 64;

/// What one task runs, and within which limits.
#[derive(Debug)]
pub struct TaskSpec {
    pub kind: shim::Kind,
    pub compiled: PathBuf,
    pub service: Option<ServiceId>,
    pub identity: Identity,
    pub memory: Option<u64>,
    pub cpu: Option<CpuLimit>,
    pub max_instances: u32,
    pub queue: u32,
    pub request_timeout: Duration,
    /// What its log may take on the disk.
    pub log: Bounds,
    pub net: NetSpec,
}

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path}: {source}")]
    Json { path: String, source: serde_json::Error },
    #[error("config.json: {0} is missing")]
    Missing(&'static str),
    #[error("config.json: {field}: {reason}")]
    Refused { field: &'static str, reason: &'static str },
    #[error(transparent)]
    Folder(#[from] preopens::Error),
    #[error("annotation {0}: unknown to this shim")]
    UnknownAnnotation(String),
    #[error("annotation {name}: {value:?} is not valid")]
    Annotation { name: &'static str, value: String },
}

/// Reads the bundle of a task.
pub fn read(bundle: &Path) -> Result<TaskSpec, Error> {
    let path = bundle.join("config.json");
    let name = || path.display().to_string();
    let bytes = std::fs::read(&path).map_err(|source| Error::Read { path: name(), source })?;
    let spec: Spec = serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: name(), source })?;
    let mut task = interpret(&spec)?;
    task.identity.folders = Preopens::open(folders(&spec)?)?;
    Ok(task)
}

/// The folders that the daemon mounted (or found) for the task.
fn folders(spec: &Spec) -> Result<Vec<Folder>, Error> {
    let refused = |reason| Error::Refused { field: "mounts", reason };
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    if mounts.len() > MAX_FOLDERS {
        return Err(refused("too many"));
    }
    let folder = |mount: &Mount| {
        if mount.typ().as_deref() != Some("bind") {
            return Err(refused("a Wasm task has mounts of type bind only"));
        }
        let (Some(source), Some(target)) = (mount.source().clone().filter(|path| path.is_absolute()), mount.destination().to_str()) else {
            return Err(refused("source and destination must be absolute paths"));
        };
        if !target.starts_with('/') {
            return Err(refused("source and destination must be absolute paths"));
        }
        let options = mount.options().as_deref().unwrap_or_default();
        if options.iter().any(|option| !["bind", "rbind", "ro", "rw"].contains(&option.as_str())) {
            return Err(refused("of the options bind, rbind, ro and rw are known"));
        }
        Ok(Folder { source, target: target.to_owned(), read_only: options.iter().any(|option| option == "ro") })
    };
    mounts.iter().map(folder).collect()
}

fn interpret(spec: &Spec) -> Result<TaskSpec, Error> {
    let none = HashMap::new();
    let annotations = spec.annotations().as_ref().unwrap_or(&none);
    if let Some(unknown) = annotations.keys().find(|name| name.starts_with(shim::PREFIX) && !shim::ANNOTATIONS.contains(&name.as_str())) {
        return Err(Error::UnknownAnnotation(unknown.clone()));
    }
    let required = |name| annotations.get(name).ok_or(Error::Missing(name));
    let kind = read_annotation(shim::KIND, required(shim::KIND)?, shim::Kind::parse)?;
    let compiled = read_annotation(shim::COMPILED, required(shim::COMPILED)?, |text| Some(PathBuf::from(text)).filter(|path| path.is_absolute()))?;
    let service = match kind {
        shim::Kind::Http => Some(read_annotation(shim::SERVICE, required(shim::SERVICE)?, |text| text.parse().ok())?),
        shim::Kind::Command | shim::Kind::Module => optional(annotations, shim::SERVICE, |text| text.parse().ok())?,
    };
    let number = |name, default: u64| annotations.get(name).map_or(Ok(default), |text| read_annotation(name, text, |text| text.parse::<u64>().ok()));
    let bounded = |name, low, default| {
        let value = number(name, u64::from(default))?;
        u32::try_from(value).ok().filter(|value| *value >= low).ok_or_else(|| Error::Annotation { name, value: value.to_string() })
    };
    let timeout = number(shim::REQUEST_TIMEOUT, shim::DEFAULT_REQUEST_TIMEOUT)?;
    if timeout == 0 {
        return Err(Error::Annotation { name: shim::REQUEST_TIMEOUT, value: "0".to_owned() });
    }
    Ok(TaskSpec {
        kind,
        compiled,
        service,
        identity: identity(spec)?,
        memory: memory(spec)?,
        cpu: cpu(spec)?,
        max_instances: bounded(shim::MAX_INSTANCES, 1, shim::DEFAULT_MAX_INSTANCES)?,
        queue: bounded(shim::QUEUE, 0, shim::DEFAULT_QUEUE)?,
        request_timeout: Duration::from_nanos(timeout),
        log: log(&number)?,
        net: net(annotations, service)?,
    })
}

fn log(number: &impl Fn(&'static str, u64) -> Result<u64, Error>) -> Result<Bounds, Error> {
    let default = Bounds::default();
    let max_size = number(shim::LOG_MAX_SIZE, default.max_size)?;
    let max_files = number(shim::LOG_MAX_FILES, default.max_files.into())?;
    let wrong = |name, value: u64| Error::Annotation { name, value: value.to_string() };
    let files = u32::try_from(max_files).ok().filter(|files| *files <= MAX_LOG_FILES);
    let max_files = files.ok_or_else(|| wrong(shim::LOG_MAX_FILES, max_files))?;
    if max_size == 0 {
        return Err(wrong(shim::LOG_MAX_SIZE, max_size));
    }
    Ok(Bounds { max_size, max_files })
}

fn read_annotation<T>(name: &'static str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
    parse(text).ok_or_else(|| Error::Annotation { name, value: text.to_owned() })
}

fn optional<T>(annotations: &HashMap<String, String>, name: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
    annotations.get(name).map(|text| read_annotation(name, text, parse)).transpose()
}

fn net(annotations: &HashMap<String, String>, service: Option<ServiceId>) -> Result<NetSpec, Error> {
    let outbound = optional(annotations, shim::ALLOW_OUTBOUND, |text| Outbound::parse(text).ok())?.unwrap_or_default();
    let listen = optional(annotations, shim::LISTEN, shim::Listen::parse)?.unwrap_or_default();
    let proxy_protocol = optional(annotations, shim::PROXY_PROTOCOL, |text| (text == "v2").then_some(true))?.unwrap_or_default();
    Ok(NetSpec { service, outbound, listen, proxy_protocol })
}

fn identity(spec: &Spec) -> Result<Identity, Error> {
    let process = spec.process().as_ref().ok_or(Error::Missing("process"))?;
    if process.terminal().unwrap_or(false) {
        return Err(Error::Refused { field: "process.terminal", reason: "Wasm tasks have no terminal" });
    }
    let args = process.args().clone().filter(|args| !args.is_empty()).ok_or(Error::Missing("process.args"))?;
    let env = process.env().iter().flatten();
    let env = env.map(|entry| entry.split_once('=').map_or((entry.clone(), String::new()), |(name, value)| (name.to_owned(), value.to_owned()))).collect();
    let cwd = Some(process.cwd().display().to_string()).filter(|cwd| cwd != "/" && !cwd.is_empty());
    Ok(Identity { args, env, cwd, folders: Preopens::default() })
}

fn memory(spec: &Spec) -> Result<Option<u64>, Error> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limit = resources.and_then(|resources| resources.memory().as_ref()).and_then(oci_spec::runtime::LinuxMemory::limit);
    match limit {
        // runc's words: -1 is no limit.
        None | Some(-1 | 0) => Ok(None),
        Some(bytes) => u64::try_from(bytes).map(Some).map_err(|_| Error::Refused { field: "linux.resources.memory.limit", reason: "must not be negative" }),
    }
}

fn cpu(spec: &Spec) -> Result<Option<CpuLimit>, Error> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let Some(cpu) = resources.and_then(|resources| resources.cpu().as_ref()) else { return Ok(None) };
    let refused = |field| Error::Refused { field, reason: "must be a number of microseconds above zero" };
    let period = match cpu.period() {
        None | Some(0) => DEFAULT_PERIOD,
        Some(micros) => Duration::from_micros(micros),
    };
    match cpu.quota() {
        // As runc: zero and less are no limit.
        None | Some(..=0) => Ok(None),
        Some(micros) => {
            let quota = u64::try_from(micros).map_err(|_| refused("linux.resources.cpu.quota"))?;
            Ok(Some(CpuLimit { quota: Duration::from_micros(quota), period }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(change: impl FnOnce(&mut Value)) -> Result<TaskSpec, String> {
        let mut config = json!({
            "ociVersion": "1.2.0",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["tick", "--fast"], "env": ["A=1", "B=x=y", "C"] },
            "root": { "path": "rootfs" },
            "annotations": { shim::KIND: "command", shim::COMPILED: "/c/x.cwasm", "other": "x" },
        });
        change(&mut config);
        interpret(&serde_json::from_value(config).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_minimal_bundle_gets_the_defaults() {
        let spec = config(|_| ()).unwrap();
        assert_eq!(spec.identity.args, ["tick", "--fast"]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(spec.identity.env, [pair("A", "1"), pair("B", "x=y"), pair("C", "")]);
        assert_eq!((spec.memory, spec.max_instances, spec.queue), (None, shim::DEFAULT_MAX_INSTANCES, shim::DEFAULT_QUEUE));
        assert_eq!(spec.request_timeout, Duration::from_secs(60));
    }

    #[test]
    fn limits_are_read() {
        let spec = config(|config| {
            config["linux"] = json!({ "resources": { "memory": { "limit": 1_048_576 }, "cpu": { "quota": 20_000, "period": 50_000 } } });
            config["annotations"][shim::MAX_INSTANCES] = json!("3");
            config["annotations"][shim::REQUEST_TIMEOUT] = json!("1000000");
        });
        let spec = spec.unwrap();
        assert_eq!(spec.cpu, Some(CpuLimit { quota: Duration::from_millis(20), period: Duration::from_millis(50) }));
        assert_eq!((spec.memory, spec.max_instances, spec.request_timeout), (Some(1_048_576), 3, Duration::from_millis(1)));
    }

    #[test]
    fn mounts_are_folders_of_this_machine() {
        let read = |mount: Value| {
            let config = json!({ "ociVersion": "1.2.0", "mounts": [mount] });
            folders(&serde_json::from_value(config).unwrap()).map_err(|error| error.to_string())
        };
        let folder = |read_only| Folder { source: "/x".into(), target: "/data".to_owned(), read_only };
        let bind = |options: Value| json!({ "destination": "/data", "source": "/x", "type": "bind", "options": options });
        assert_eq!(read(bind(json!(["bind", "ro"]))).unwrap(), [folder(true)]);
        assert_eq!(read(bind(json!(["rbind", "rw"]))).unwrap(), [folder(false)]);
        for wrong in [
            bind(json!(["shared"])),
            json!({ "destination": "/data", "source": "/x", "type": "tmpfs" }),
            json!({ "destination": "data", "source": "/x", "type": "bind" }),
            json!({ "destination": "/data", "source": "x", "type": "bind" }),
            json!({ "destination": "/data", "type": "bind" }),
        ] {
            assert!(read(wrong.clone()).unwrap_err().starts_with("config.json: mounts: "), "{wrong}");
        }
    }

    #[test]
    fn spoilt_bundles_are_read_or_refused() {
        let mut spoiler = wsw_spoil::Spoiler::new(1);
        let resources = json!({ "memory": { "limit": 1_048_576 }, "cpu": { "quota": 20_000, "period": 50_000 } });
        let annotations = json!({
            shim::KIND: "http", shim::COMPILED: "/c/x.cwasm", shim::SERVICE: "0000000000000000000000000", shim::ALLOW_OUTBOUND: "*.example.com:443,10.0.0.0/8",
            shim::MAX_INSTANCES: "3", shim::QUEUE: "4", shim::REQUEST_TIMEOUT: "1000000", shim::LISTEN: "80/tcp", shim::LOG_MAX_SIZE: "100", shim::LOG_MAX_FILES: "2",
        });
        let valid = json!({
            "ociVersion": "1.2.0", "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["tick"], "env": ["A=1"] }, "annotations": annotations,
            "linux": { "resources": resources }, "mounts": [{ "destination": "/data", "source": "/x", "type": "bind", "options": ["rbind", "ro"] }],
        });
        let read = |bytes: &[u8]| serde_json::from_slice::<Spec>(bytes).map(|spec| (interpret(&spec).map(drop), folders(&spec).map(drop)));
        assert!(matches!(read(valid.to_string().as_bytes()), Ok((Ok(()), Ok(())))));
        let (mut read_well, mut refused) = (0, 0);
        for number in wsw_spoil::tries(5_000) {
            let bytes = if number % 3 == 0 { spoiler.mutant(valid.to_string().as_bytes()) } else { spoiler.json(&valid).to_string().into_bytes() };
            match read(&bytes) {
                Ok((Ok(()), Ok(()))) => read_well += 1,
                Ok((interpreted, folders)) => {
                    refused += 1;
                    let said = [interpreted, folders].into_iter().filter_map(Result::err).map(|error| error.to_string());
                    said.for_each(|said| assert!(said.contains("config.json: ") || said.contains("annotation "), "{said}"));
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read_well > 0 && refused > 0, "{read_well} {refused}");
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change); 9] = [
            ("wsw.wasm.gpu", |config| config["annotations"]["wsw.wasm.gpu"] = json!("1")),
            (shim::ALLOW_OUTBOUND, |config| config["annotations"][shim::ALLOW_OUTBOUND] = json!("http://a.example")),
            (shim::LISTEN, |config| config["annotations"][shim::LISTEN] = json!("80")),
            (shim::PROXY_PROTOCOL, |config| config["annotations"][shim::PROXY_PROTOCOL] = json!("v1")),
            (shim::KIND, |config| config["annotations"][shim::KIND] = json!("job")),
            (shim::COMPILED, |config| config["annotations"][shim::COMPILED] = json!("x.cwasm")),
            (shim::SERVICE, |config| config["annotations"][shim::KIND] = json!("http")),
            (shim::MAX_INSTANCES, |config| config["annotations"][shim::MAX_INSTANCES] = json!("0")),
            ("process.args", |config| config["process"]["args"] = json!([])),
        ];
        for (name, change) in cases {
            let error = config(change).unwrap_err();
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}
