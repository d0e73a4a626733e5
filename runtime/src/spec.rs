//! From an image and a task's spec to the OCI runtime spec that the shim reads.
//!
//! Owns: Docker's rules for entry point, arguments and environment; the `WSW_*` variables; the annotations of `wsw_api::shim`.
//! Never: reads or writes a file.

use crate::error::{Error, Result};
use crate::executor::TaskRequest;
use crate::images::Image;
use crate::mounts::Ready;
use oci_spec::runtime::{Linux, LinuxCpu, LinuxMemory, LinuxResources, Mount, Process, Root, Spec};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use wsw_api::generic;
use wsw_api::labels::{self, WasmLabels};
use wsw_api::placeholders::Fields;
use wsw_api::shim;
use wsw_api::spec::{ContainerSpec, TaskSpec};

/// Version of the runtime spec that the bundle follows.
const OCI_VERSION: &str = "1.0.2";
/// Digits of a container's id in its host name.
const HOSTNAME: usize = 12;

/// The labels of a task, understood. Runtimes other than ours run no Wasm.
pub(crate) fn labels(request: &TaskRequest) -> Result<WasmLabels> {
    let labels = labels::parse(&request.spec.container.labels).map_err(|error| match error.class {
        wsw_api::Class::Unimplemented => Error::Unsupported(error.message),
        _ => Error::Invalid(error.message),
    })?;
    match labels.runtime.as_deref() {
        None | Some(shim::RUNTIME_NAME) => Ok(labels),
        Some(other) => {
            let (name, own) = (labels::RUNTIME, shim::RUNTIME_NAME);
            Err(Error::Unsupported(format!("label {name}: runtime {other} runs no Wasm images; use {own}, or remove the label")))
        }
    }
}

/// The bundle's `config.json`.
pub(crate) fn runtime_spec(request: &TaskRequest, image: &Image, labels: &WasmLabels, artifact: &Path, mounts: &[Ready]) -> Result<Vec<u8>> {
    let container = &request.spec.container;
    if let Some(field) = container.confinement.for_containers_only().first() {
        return Err(Error::Unsupported(format!("ContainerSpec.{field}: means nothing to a Wasm task, which has none of it; leave it out")));
    }
    let mut process = Process::default();
    process.set_args(Some(args(container, image))).set_env(Some(env(request, image))).set_cwd(cwd(container, image).into());
    process.set_capabilities(None).set_rlimits(None).set_no_new_privileges(Some(true));
    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(true));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.into()).set_process(Some(process)).set_root(Some(root)).set_mounts(some_mounts(mounts));
    spec.set_hostname(Some(hostname(request))).set_linux(linux(request)?).set_annotations(Some(annotations(request, image, labels, artifact)?));
    serde_json::to_vec(&spec).map_err(|error| Error::Invalid(format!("runtime spec: {error}")))
}

/// The folders as OCI bind mounts: the shim opens their sources.
fn some_mounts(ready: &[Ready]) -> Option<Vec<Mount>> {
    let one = |ready: &Ready| {
        let mut mount = Mount::default();
        let access = if ready.read_only { "ro" } else { "rw" };
        mount.set_destination(ready.target.clone().into()).set_source(Some(ready.source.clone()));
        mount.set_typ(Some("bind".into())).set_options(Some(vec!["bind".into(), access.into()]));
        mount
    };
    (!ready.is_empty()).then(|| ready.iter().map(one).collect())
}

/// Its host name: what the service says, else the first digits of its container's id, as Docker has them.
pub(crate) fn hostname(request: &TaskRequest) -> String {
    let own = &request.spec.container.hostname;
    // A container's id begins with its task's own bytes.
    if own.is_empty() { hex::encode(request.task.as_bytes()).chars().take(HOSTNAME).collect() } else { own.clone() }
}

/// Its command line.
pub(crate) fn args(container: &ContainerSpec, image: &Image) -> Vec<String> {
    let (entrypoint, args) = container.process(&image.entrypoint, &image.cmd);
    [entrypoint, args].concat()
}

pub(crate) fn cwd(container: &ContainerSpec, image: &Image) -> String {
    let own = [&container.dir, &image.working_dir].into_iter().find(|dir| dir.starts_with('/'));
    own.cloned().unwrap_or_else(|| "/".to_owned())
}

/// The image's variables, then the user's, then ours, then what it was given of the node; a later one replaces an earlier one of its name.
fn env(request: &TaskRequest, image: &Image) -> Vec<String> {
    let own = [
        format!("WSW_TASK_ID={}", request.task),
        format!("WSW_TASK_NAME={}", fields(request).task_name()),
        format!("WSW_TASK_SLOT={}", request.slot),
        format!("WSW_SERVICE_NAME={}", request.service_name),
        format!("WSW_NODE_ID={}", request.node),
        format!("WSW_NODE_HOSTNAME={}", request.hostname),
    ];
    merged(image.env.iter().chain(&request.spec.container.env).chain(&own).chain(&generic::environment(&request.generic)))
}

/// Variables in their order; a later one replaces an earlier one of its name.
pub(crate) fn merged<'a>(variables: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut merged: Vec<(String, String)> = Vec::new();
    for variable in variables {
        // A name without a value removes the variable, as Docker does.
        let (name, value) = variable.split_once('=').map_or((variable.as_str(), None), |(name, value)| (name, Some(value)));
        let known = merged.iter().position(|(known, _)| known == name);
        match (known, value) {
            (Some(at), Some(value)) => merged.iter_mut().skip(at).take(1).for_each(|(_, old)| *old = value.to_owned()),
            (Some(at), None) => drop(merged.remove(at)),
            (None, Some(value)) => merged.push((name.to_owned(), value.to_owned())),
            (None, None) => {}
        }
    }
    merged.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn fields(request: &TaskRequest) -> Fields<'_> {
    Fields {
        service: request.service,
        service_name: &request.service_name,
        service_labels: &request.service_labels,
        node: request.node,
        hostname: &request.hostname,
        architecture: std::env::consts::ARCH,
        task: request.task,
        slot: request.slot,
    }
}

/// The request with the placeholders of its spec replaced.
pub(crate) fn expanded(request: &TaskRequest) -> Result<TaskRequest> {
    let container = request.spec.container.expanded(&fields(request)).map_err(Error::Invalid)?;
    let spec = if container == request.spec.container { Arc::clone(&request.spec) } else { Arc::new(TaskSpec { container, ..(*request.spec).clone() }) };
    Ok(TaskRequest { spec, ..request.clone() })
}

/// Docker's period of a CPU limit, in microseconds; a limit of 0.01 CPUs still is a whole quota in it.
const CPU_PERIOD: u64 = 100_000;
/// Billionths of a CPU.
const WHOLE_CPU: u64 = 1_000_000_000;

/// The limits, as a container's bundle has them.
fn linux(request: &TaskRequest) -> Result<Option<Linux>> {
    let limits = &request.spec.resources.limits;
    if limits.memory_bytes == 0 && limits.nano_cpus == 0 {
        return Ok(None);
    }
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    if limits.memory_bytes > 0 {
        let limit = i64::try_from(limits.memory_bytes).map_err(|_| Error::Invalid(format!("memory limit: {} bytes is too large", limits.memory_bytes)))?;
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(limit));
        resources.set_memory(Some(memory));
    }
    if limits.nano_cpus > 0 {
        let quota = u128::from(limits.nano_cpus) * u128::from(CPU_PERIOD) / u128::from(WHOLE_CPU);
        let quota = i64::try_from(quota.max(1)).map_err(|_| Error::Invalid(format!("CPU limit: {} billionths of a CPU is too large", limits.nano_cpus)))?;
        let mut cpu = LinuxCpu::default();
        cpu.set_period(Some(CPU_PERIOD)).set_quota(Some(quota));
        resources.set_cpu(Some(cpu));
    }
    let mut linux = Linux::default();
    linux.set_resources(Some(resources)).set_namespaces(None).set_masked_paths(None).set_readonly_paths(None);
    Ok(Some(linux))
}

fn annotations(request: &TaskRequest, image: &Image, labels: &WasmLabels, artifact: &Path) -> Result<HashMap<String, String>> {
    let kind = image.wasm_kind.ok_or_else(|| Error::Unsupported(format!("image {} is not a Wasm image", image.digest)))?;
    let artifact = artifact.to_str().ok_or_else(|| Error::Invalid(format!("data root: {} is not UTF-8", artifact.display())))?;
    let mut all = HashMap::from([
        (shim::MODULE_DIGEST.to_owned(), image.module_digest.clone()),
        (shim::COMPILED.to_owned(), artifact.to_owned()),
        (shim::KIND.to_owned(), kind.as_str().to_owned()),
        (shim::SERVICE.to_owned(), request.service.to_string()),
    ]);
    if !labels.outbound.is_empty() {
        all.insert(shim::ALLOW_OUTBOUND.to_owned(), labels.outbound.to_string());
    }
    if kind != shim::Kind::Http {
        // A server of HTTP is handed connections and sees the true client; a command binds, and is connected to.
        all.insert(shim::LISTEN.to_owned(), shim::Listen::of(&request.ports).to_string());
        if labels.proxy_protocol {
            all.insert(shim::PROXY_PROTOCOL.to_owned(), "v2".to_owned());
        }
    }
    if kind == shim::Kind::Http {
        all.insert(shim::MAX_INSTANCES.to_owned(), labels.max_instances.to_string());
        all.insert(shim::QUEUE.to_owned(), labels.queue.to_string());
        all.insert(shim::REQUEST_TIMEOUT.to_owned(), labels.request_timeout_ns.to_string());
    }
    let log = wsw_api::log::driver(request.spec.log_driver.as_ref()).map_err(|error| Error::Invalid(error.message))?.bounds;
    all.insert(shim::LOG_MAX_SIZE.to_owned(), log.max_size.to_string());
    all.insert(shim::LOG_MAX_FILES.to_owned(), log.max_files.to_string());
    Ok(all)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use wsw_api::shim::Kind;
    use wsw_api::spec::TaskSpec;
    use wsw_api::{NodeId, ServiceId, TaskId};

    fn image() -> Image {
        Image {
            digest: "sha256:i".into(),
            wasm_kind: Some(Kind::Http),
            module_digest: "sha256:m".into(),
            entrypoint: vec!["app.wasm".into()],
            cmd: vec!["default".into()],
            env: vec!["A=image".into(), "B=image".into(), "C=image".into()],
            ..Image::default()
        }
    }

    pub(crate) fn request(container: ContainerSpec) -> TaskRequest {
        TaskRequest {
            task: TaskId::from_bytes([1; 16]),
            service: ServiceId::from_bytes([2; 16]),
            service_name: "web".into(),
            service_labels: Default::default(),
            slot: 3,
            node: NodeId::from_bytes([4; 16]),
            hostname: "host".into(),
            template: 1,
            spec: Arc::new(TaskSpec { container, ..TaskSpec::default() }),
            ports: vec![],
            generic: Vec::new(),
            auth: None,
        }
    }

    #[test]
    fn commands_and_arguments_follow_docker() {
        let words = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (command, given, want) in
            [(&[][..], &[][..], &["app.wasm", "default"][..]), (&[], &["x"], &["app.wasm", "x"]), (&["c"], &[], &["c"]), (&["c"], &["x"], &["c", "x"])]
        {
            let container = ContainerSpec { command: words(command), args: words(given), ..ContainerSpec::default() };
            assert_eq!(args(&container, &image()), words(want));
        }
    }

    #[test]
    fn later_variables_replace_earlier_ones_and_ours_come_last() {
        let container = ContainerSpec { env: vec!["B=own".into(), "C".into(), "WSW_TASK_SLOT=9".into(), "D=x=y".into()], ..ContainerSpec::default() };
        let env = env(&request(container), &image());
        assert_eq!(env.first().map(String::as_str), Some("A=image"));
        for wanted in ["B=own", "D=x=y", "WSW_TASK_SLOT=3", "WSW_SERVICE_NAME=web", "WSW_NODE_HOSTNAME=host"] {
            assert!(env.iter().any(|variable| variable == wanted), "{wanted} in {env:?}");
        }
        assert!(!env.iter().any(|variable| variable.starts_with("C=")));
        assert!(env.iter().any(|variable| variable.starts_with("WSW_TASK_NAME=web.3.")));
        let mut given = request(ContainerSpec { env: vec!["DOCKER_RESOURCE_GPU=mine".into()], ..ContainerSpec::default() });
        given.generic = wsw_api::generic::parse(&["gpu=a,gpu=b".to_owned()]).unwrap();
        let env = super::env(&given, &image());
        assert_eq!(env.iter().filter(|variable| variable.starts_with("DOCKER_RESOURCE_")).collect::<Vec<_>>(), ["DOCKER_RESOURCE_GPU=a,b"]);
    }

    #[test]
    fn a_runtime_that_is_not_here_is_refused_by_name() {
        let with = |runtime: &str| {
            let labels = BTreeMap::from([(labels::RUNTIME.to_owned(), runtime.to_owned())]);
            super::labels(&request(ContainerSpec { labels, ..ContainerSpec::default() })).map_err(|error| error.to_string())
        };
        assert!(with("io.wsw.wasm.v1").is_ok());
        let error = with("io.containerd.runc.v2").unwrap_err();
        assert!(error.contains("wsw.runtime") && error.contains("runtime io.containerd.runc.v2 runs no Wasm images; use io.wsw.wasm.v1"), "{error}");
    }

    #[test]
    fn the_network_is_annotated_by_what_the_task_is() {
        let labels = BTreeMap::from([(labels::ALLOW_OUTBOUND.to_owned(), "A.example".to_owned()), (labels::PROXY_PROTOCOL.to_owned(), "v2".to_owned())]);
        let mut request = request(ContainerSpec { labels, ..ContainerSpec::default() });
        request.ports = vec![wsw_api::spec::PortConfig { target: 8080, published: 9000, ..Default::default() }];
        let labels = super::labels(&request).unwrap();
        let annotations = |kind| super::annotations(&request, &Image { wasm_kind: Some(kind), ..image() }, &labels, Path::new("/c")).unwrap();
        let command = annotations(Kind::Command);
        assert_eq!(
            (command[shim::ALLOW_OUTBOUND].as_str(), command[shim::LISTEN].as_str(), command[shim::PROXY_PROTOCOL].as_str()),
            ("a.example", "8080/tcp", "v2")
        );
        let http = annotations(Kind::Http);
        assert!(http.contains_key(shim::ALLOW_OUTBOUND) && !http.contains_key(shim::LISTEN) && !http.contains_key(shim::PROXY_PROTOCOL));
    }

    #[test]
    fn the_spec_carries_the_contract_and_nothing_of_a_container() {
        let mut request = request(ContainerSpec::default());
        let mut spec = (*request.spec).clone();
        spec.resources.limits.memory_bytes = 1 << 20;
        spec.resources.limits.nano_cpus = 200_000_000;
        request.spec = Arc::new(spec);
        let mounts = [Ready { target: "/data".into(), source: "/x/1/m/0".into(), read_only: true }];
        let bytes = runtime_spec(&request, &image(), &WasmLabels::default(), Path::new("/c/m.cwasm"), &mounts).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["annotations"]["wsw.wasm.kind"], "http");
        assert_eq!(json["annotations"]["wsw.wasm.compiled"], "/c/m.cwasm");
        assert_eq!(json["annotations"]["wsw.wasm.max-instances"], "64");
        assert_eq!(json["linux"]["resources"]["memory"]["limit"], 1 << 20);
        assert_eq!(json["linux"]["resources"]["cpu"], serde_json::json!({ "quota": 20_000, "period": 100_000 }));
        assert_eq!(json["process"]["cwd"], "/");
        assert_eq!(json["mounts"], serde_json::json!([{"destination": "/data", "type": "bind", "source": "/x/1/m/0", "options": ["bind", "ro"]}]));
        assert!(json["process"].get("capabilities").is_none());
        let unknown = json["annotations"].as_object().unwrap().keys().find(|key| !shim::ANNOTATIONS.contains(&key.as_str()));
        assert_eq!(unknown, None);
    }
}
