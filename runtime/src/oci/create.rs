//! What a container needs before it is created, and how that goes.
//!
//! Owns: the order of preparation and of removal, the request to the shim.
//! Invariant: the record is written last; what was made before it is found by its name and removed.

use super::bundle::{self, Record};
use super::spec::{self, Found};
use super::{Oci, confine, etc, mounts, rootfs, signals, stdin, tools, users};
use crate::error::{Error, Result};
use crate::executor::TaskRequest;
use crate::files;
use crate::images::Image;
use crate::spec::hostname;
use containerd_shim_protos::api::CreateTaskRequest;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wsw_api::health::HealthConfig;
use wsw_api::{TaskId, labels};

const SIGTERM: u32 = 15;

/// Makes everything but the container itself.
pub(super) async fn prepare(oci: &Arc<Oci>, request: &TaskRequest, image: &Image) -> Result<Record> {
    let _slot = oci.preparing.acquire().await.map_err(|_| Error::Temporary("the runtime is closed".into()))?;
    let layers = oci.wasm.images().layers(image).await?;
    // Of an attempt that was cut off.
    let old = oci.network.as_ref().and_then(|network| network.address_of(request.task));
    remove(oci, request.task, old).await?;
    let (own, request, image) = (oci.clone(), request.clone(), image.clone());
    let task = request.task;
    let made = files::blocking(move || make(&own, &request, &image, &layers)).await?;
    match made {
        Ok(record) => Ok(record),
        Err(error) => {
            let address = oci.network.as_ref().and_then(|network| network.address_of(task));
            if let Err(other) = remove(oci, task, address).await {
                tracing::warn!(%task, error = %other, "what was made for a container was not removed");
            }
            Err(error)
        }
    }
}

fn make(oci: &Oci, request: &TaskRequest, image: &Image, layers: &[PathBuf]) -> Result<Record> {
    let record = record(oci, request, image)?;
    let container = &request.spec.container;
    let bundle = oci.bundles.make(request.task)?;
    let root = bundle.join(bundle::ROOT);
    rootfs::mount(layers, &oci.writable.join(request.task.to_string()), &root)?;
    let user = if container.user.is_empty() { &image.user } else { &container.user };
    let user = users::find(&root, user, &container.groups)?;
    let mounts = mounts::find(oci.wasm.volumes(), request, &image.volumes, &root)?;
    let (address, netns) = match &oci.network {
        Some(network) => network.attach(request.task).map(|(address, netns)| (Some(address), Some(netns)))?,
        None => (None, None),
    };
    etc::write(&bundle, &hostname(request), address, &container.confinement)?;
    for name in ["stdout", "stderr"] {
        bundle::fifo(&bundle, name)?;
    }
    if record.stdin {
        stdin::make(&bundle)?;
    }
    let found = Found {
        user,
        root,
        mounts,
        files: &bundle,
        netns,
        init: container.init.unwrap_or(false).then(|| confine::init(&oci.tools.path)).transpose()?,
        cgroup: format!("{}/{}", oci.tools.cgroups, request.task),
        cgroup2: oci.tools.cgroup2,
        kernel: &oci.kernel,
        apparmor: oci.tools.apparmor.as_ref().ok().and_then(Option::as_deref),
    };
    bundle::write_config(&bundle, &spec::runtime_spec(request, image, found)?)?;
    let record = Record { address, volumes: oci.wasm.volumes().used_by(request.task), ..record };
    bundle::write_record(&bundle, &record)?;
    Ok(record)
}

fn record(oci: &Oci, request: &TaskRequest, image: &Image) -> Result<Record> {
    let container = &request.spec.container;
    let labels = labels::parse(&container.labels).map_err(|error| Error::Invalid(error.message))?;
    let named = labels.runtime.as_deref().unwrap_or(tools::RUNTIME);
    let runtime = oci.tools.runtime(named)?;
    let group = if runtime == oci.tools.shim { request.service.to_string() } else { format!("{}-{}", request.service, short(&runtime)) };
    let signal = if container.stop_signal.is_empty() { &image.stop_signal } else { &container.stop_signal };
    let stop_signal = match signal.as_str() {
        "" => SIGTERM,
        text => signals::parse(text).ok_or_else(|| Error::Invalid(format!("StopSignal: invalid signal: {text}")))?,
    };
    let bounds = wsw_api::log::driver(request.spec.log_driver.as_ref()).map_err(|error| Error::Invalid(error.message))?.bounds;
    Ok(Record {
        task: request.task,
        service: request.service,
        slot: request.slot,
        template: request.template,
        image: image.digest.clone(),
        group,
        runtime,
        boot: oci.boot.clone(),
        volumes: Vec::new(),
        address: None,
        tty: container.tty,
        stdin: container.open_stdin,
        stop_signal,
        log_size: bounds.max_size,
        log_files: bounds.max_files,
        proxy_protocol: labels.proxy_protocol,
        started: false,
        groups: container.groups.clone(),
        check: HealthConfig::check(container.healthcheck.as_ref(), image.healthcheck.as_ref(), &image.shell),
    })
}

fn short(path: &Path) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(path.as_os_str().as_encoded_bytes())).chars().take(8).collect()
}

/// Takes away all that a task has; nothing of it runs any more.
pub(super) async fn remove(oci: &Arc<Oci>, task: TaskId, address: Option<Ipv4Addr>) -> Result<()> {
    let oci = oci.clone();
    files::blocking(move || {
        if let Some(network) = &oci.network {
            network.detach(task, address)?;
        }
        let bundle = oci.bundles.path(task);
        rootfs::remove(&bundle, &oci.writable.join(task.to_string()))?;
        oci.wasm.volumes().release(task)?;
        oci.bundles.remove(task)
    })
    .await?
}

pub(super) fn request(id: &str, bundle: &Path, record: &Record, options: Option<(String, Vec<u8>)>) -> CreateTaskRequest {
    let stream = |name: &str| bundle.join(name).to_string_lossy().into_owned();
    CreateTaskRequest {
        id: id.into(),
        bundle: bundle.to_string_lossy().into_owned(),
        stdin: if record.stdin { stream(stdin::NAME) } else { String::new() },
        stdout: stream("stdout"),
        // With a terminal there is one stream.
        stderr: if record.tty { String::new() } else { stream("stderr") },
        terminal: record.tty,
        options: MessageField::from_option(options.map(|(type_url, value)| Any { type_url, value, ..Default::default() })),
        ..Default::default()
    }
}

/// The first process of a container that is created and not started gets the score it is to have: crun leaves one of 0 as it is, which is the shim's then (the daemon's and one more).
pub(super) fn score(pid: u32, wanted: i64) {
    // Of a process that is gone the start tells more.
    if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), wanted.to_string()) {
        tracing::debug!(pid, %error, "the score of a container for the kernel's choice at an end of memory is not set");
    }
}
