//! This node to the API: `/info` and `/version`.
//!
//! Owns: which of Docker's host facts wsw states. Clients before 1.42 warn about every kernel feature that is said to be missing, so
//! those that a guest cannot need are said to be there.

use super::{node::role, swarm, time};
use crate::backend::{LOCKED, LocalNode, SwarmState};
use crate::model::{Map, system as api};
use crate::negotiate::{NEWEST, OLDEST};
use std::collections::BTreeMap;
use wsw_api::object::NodeDescription;
use wsw_api::spec::NodeRole;
use wsw_api::{Node, NodeId, shim};
use wsw_planner::Store;

/// The `Swarm` header of `/_ping`.
pub const fn ping_header(state: &SwarmState) -> &'static str {
    match state {
        SwarmState::Inactive => "inactive",
        SwarmState::Manager { .. } => "active/manager",
        SwarmState::Worker { .. } => "active/worker",
        SwarmState::Locked => "locked",
        SwarmState::Error { .. } => "error",
    }
}

/// Node of a state, if it has one.
pub const fn node_id(state: &SwarmState) -> Option<NodeId> {
    match state {
        SwarmState::Manager { node, .. } | SwarmState::Worker { node, .. } => Some(*node),
        SwarmState::Inactive | SwarmState::Locked | SwarmState::Error { .. } => None,
    }
}

/// `/info`. `store` is the cluster's state on a manager that can read it.
pub fn info(local: &LocalNode, store: Option<&Store>) -> api::Info {
    let described = &local.description;
    let runtimes = runtimes(described);
    let has_containers = runtimes.contains_key(shim::CONTAINER_RUNTIME);
    let (default_runtime, cgroup_driver) = if has_containers { (shim::CONTAINER_RUNTIME, "cgroupfs") } else { (shim::RUNTIME_NAME, "none") };
    api::Info {
        id: Some(local.installation_id.clone()),
        containers: Some(local.running + local.stopped),
        running: Some(local.running),
        paused: Some(0),
        stopped: Some(local.stopped),
        images: Some(local.images),
        driver: Some("wsw"),
        driver_status: Some(Vec::new()),
        plugins: Some(plugins()),
        memory_limit: Some(true),
        swap_limit: Some(true),
        cpu_period: Some(true),
        cpu_quota: Some(true),
        cpu_shares: Some(true),
        cpu_set: Some(true),
        pids_limit: Some(true),
        oom_kill_disable: Some(true),
        ipv4_forwarding: Some(true),
        bridge_iptables: Some(true),
        bridge_ip6tables: Some(true),
        debug: Some(false),
        file_descriptors: Some(0),
        goroutines: Some(0),
        system_time: Some(time::rfc3339(local.now)),
        logging_driver: Some("json-file"),
        cgroup_driver: Some(cgroup_driver),
        cgroup_version: Some(if local.cgroup_version == Some(1) { "1" } else { "2" }),
        listeners: Some(0),
        kernel: Some(local.kernel_version.clone()),
        operating_system: Some(local.operating_system.clone()),
        os_type: Some(local.platform.os.clone()),
        architecture: Some(machine(&local.platform.architecture).into()),
        index_server: Some(""),
        cpus: Some(local.cpus),
        memory: Some(local.memory_bytes),
        generic: super::generic::write_all(&described.generic),
        root_dir: Some(local.data_root.clone()),
        name: Some(local.hostname.clone()),
        labels: Some(labels(described)),
        experimental: Some(false),
        server_version: Some(local.version.clone()),
        runtimes: Some(runtimes),
        default_runtime: Some(default_runtime),
        swarm: Some(swarm_info(local, store)),
        live_restore: Some(true),
        isolation: Some(""),
        init_binary: Some(""),
        security: Some(security(described, has_containers)),
        warnings: Some(described.problems.clone()),
    }
}

/// What services may name.
fn plugins() -> api::Plugins {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    api::Plugins { volume: names(&["local"]), network: names(&["bridge", "overlay"]), log: names(&["json-file", "local", "none"]) }
}

fn labels(node: &NodeDescription) -> Vec<String> {
    node.engine_labels.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// How tasks are separated, in the form of Docker's security options (`name=…,key=value`; the CLI splits at commas).
fn security(node: &NodeDescription, has_containers: bool) -> Vec<String> {
    let said = node.wasm_isolation.replace(',', ";");
    let containers = has_containers.then(|| "name=seccomp,profile=builtin".to_owned());
    containers.into_iter().chain((!said.is_empty()).then(|| format!("name=wasm,isolation={said}"))).collect()
}

fn runtimes(node: &NodeDescription) -> BTreeMap<String, api::Runtime> {
    let shims = node.plugins.iter().filter(|(kind, _)| kind == "Runtime");
    shims.map(|(_, name)| (name.clone(), api::Runtime { path: None })).collect()
}

/// `/info` names the machine as `uname -m` does.
fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

fn swarm_info(local: &LocalNode, store: Option<&Store>) -> api::SwarmInfo {
    let mut out = api::SwarmInfo {
        node_id: Some(node_id(&local.swarm).map(|id| id.to_string()).unwrap_or_default()),
        node_addr: Some(String::new()),
        state: Some("active"),
        control: Some(false),
        error: Some(String::new()),
        ..Default::default()
    };
    match &local.swarm {
        SwarmState::Inactive => out.state = Some("inactive"),
        SwarmState::Locked => {
            out.state = Some("locked");
            out.error = Some(LOCKED.to_owned());
        }
        SwarmState::Error { message } => {
            out.state = Some("error");
            out.error = Some(message.clone());
        }
        SwarmState::Worker { addr, .. } => out.node_addr = Some(addr.ip().to_string()),
        SwarmState::Manager { node, addr, .. } => {
            out.node_addr = Some(addr.ip().to_string());
            out.control = Some(store.is_some());
            out.managers_known = Some(vec![api::Peer { node_id: Some(node.to_string()), addr: Some(addr.to_string()) }]);
        }
    }
    if let Some(store) = store.filter(|_| matches!(local.swarm, SwarmState::Manager { .. })) {
        let is_manager = |node: &&std::sync::Arc<Node>| role(node.role()) == role(NodeRole::Manager);
        let peer = |node: &Node| Some(api::Peer { node_id: Some(node.id.to_string()), addr: Some(node.manager.as_ref()?.addr.clone()) });
        out.nodes = Some(store.node_count() as u64);
        out.managers = Some(store.nodes().filter(is_manager).count() as u64);
        out.managers_known = Some(store.nodes().filter_map(|node| peer(node)).collect());
        out.cluster = store.cluster().map(|cluster| swarm::info(cluster));
    }
    out
}

/// `/version`.
pub fn version(local: &LocalNode) -> api::VersionInfo {
    let details = Map::from([
        ("ApiVersion".into(), NEWEST.to_string()),
        ("MinAPIVersion".into(), OLDEST.to_string()),
        ("Os".into(), local.platform.os.clone()),
        ("Arch".into(), local.platform.architecture.clone()),
        ("KernelVersion".into(), local.kernel_version.clone()),
        ("Experimental".into(), "false".into()),
    ]);
    api::VersionInfo {
        platform: Some(api::PlatformName { name: Some("wsw".into()) }),
        components: Some(vec![api::Component { name: Some("Engine"), version: Some(local.version.clone()), details: Some(details) }]),
        version: Some(local.version.clone()),
        api_version: Some(NEWEST.to_string()),
        min_api_version: Some(OLDEST.to_string()),
        git_commit: Some(""),
        go_version: Some(""),
        os: Some(local.platform.os.clone()),
        arch: Some(local.platform.architecture.clone()),
        kernel: Some(local.kernel_version.clone()),
        build_time: Some(""),
    }
}
