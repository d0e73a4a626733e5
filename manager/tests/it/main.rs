//! The manager on real files, through the API that the daemon calls: init, writes, sessions, restarts, crashes, a full disk.

#![allow(clippy::unwrap_used, clippy::panic)] // The helpers of tests may; clippy only knows the test functions themselves.

mod crash;
mod full;
mod life;
mod network;
mod sessions;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use wsw_api::control::{Rollback, Write};
use wsw_api::entry::Outcome;
use wsw_api::id::ServiceId;
use wsw_api::object::NodeDescription;
use wsw_api::spec::{Annotations, Availability, ClusterSpec, ContainerSpec, EndpointSpec, Platform, ServiceMode, ServiceSpec, TaskSpec};
use wsw_manager::{Config, InitSpec, Manager};

fn description() -> NodeDescription {
    let wasi = Platform { os: "wasi".into(), architecture: "wasm".into() };
    NodeDescription {
        hostname: "here".into(),
        platform: Platform { os: "linux".into(), architecture: "amd64".into() },
        platforms: vec![Platform { os: "linux".into(), architecture: "amd64".into() }, wasi],
        resources: wsw_api::spec::Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, pids: 0 },
        engine_version: "0.1.0".into(),
        ..NodeDescription::default()
    }
}

fn config(root: &Path) -> Config {
    Config {
        data_root: root.to_owned(),
        advertise_addr: SocketAddr::from(([127, 0, 0, 1], 2377)),
        hostname: "here".into(),
        description: description(),
        managers: Vec::new(),
        timing: wsw_manager::Timing::Lan,
        unlock: None,
    }
}

async fn init(root: &Path) -> Manager {
    let init = InitSpec { spec: ClusterSpec::default(), availability: Availability::Active };
    Manager::bootstrap(config(root), init).await.unwrap()
}

async fn restart(root: &Path) -> Manager {
    Manager::restart(config(root)).await.unwrap().unwrap()
}

fn spec(name: &str, replicas: u64) -> Box<ServiceSpec> {
    Box::new(ServiceSpec {
        annotations: Annotations { name: name.into(), labels: BTreeMap::new() },
        task: TaskSpec { container: ContainerSpec { image: "app:latest".into(), ..ContainerSpec::default() }, ..TaskSpec::default() },
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
    })
}

async fn create(manager: &Manager, name: &str, replicas: u64) -> ServiceId {
    match manager.write(Write::CreateService { spec: spec(name, replicas) }).await.unwrap() {
        Outcome::ServiceCreated { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

async fn scale(manager: &Manager, id: ServiceId, replicas: u64) {
    let service = manager.read().await.unwrap().service(&id).unwrap().clone();
    let write = Write::UpdateService { id, version: service.meta.version, spec: spec(service.name(), replicas), rollback: Rollback::No };
    manager.write(write).await.unwrap();
}
