//! The cluster: spec both ways, the object to the API, `swarm init` and `join`.
//!
//! Owns: which cluster settings wsw has. Docker's CLI leaves out what its user did not say, so a spec is read on top of another.

use super::{go_nanos, non_negative, not_served, time, unserved};
use crate::backend::{GivenRoot, InitRequest, JoinSwarm};
use crate::model::{self, swarm as api, system::ClusterInfo};
use wsw_api::spec::{Annotations, Availability, ClusterSpec};
use wsw_api::{Cluster, Error, Result};

/// The only name that a cluster may have.
const NAME: &str = "default";
/// Docker's default; the CLI sends it always.
const SUBNET_SIZE: u32 = 24;
/// VXLAN's port in Docker's default; 0 means the same.
const DATA_PATH_PORT: u32 = 4789;
/// SwarmKit's Raft ticks as docker prints them; wsw's timing is its own, so others are refused.
const TICKS: [(&str, i64); 2] = [("Raft.ElectionTick", 10), ("Raft.HeartbeatTick", 1)];
/// SwarmKit's default, printed for tools that read it; wsw keeps log by bytes.
const SLOW_FOLLOWER_ENTRIES: u64 = 500;

/// A spec from the API on top of what is there (`base`).
pub fn read(spec: api::SwarmSpec, base: &ClusterSpec) -> Result<ClusterSpec> {
    let raft = spec.raft.unwrap_or_default();
    for ((field, fixed), given) in TICKS.iter().zip([raft.election_tick, raft.heartbeat_tick]) {
        if given.is_some_and(|ticks| ticks != 0 && ticks != *fixed) {
            return Err(not_served(field));
        }
    }
    if raft.keep_old_snapshots.unwrap_or_default() != 0 {
        return Err(not_served("Raft.KeepOldSnapshots"));
    }
    let ca = spec.ca.unwrap_or_default();
    unserved("CAConfig.ExternalCAs", &ca.external_cas)?;
    unserved("TaskDefaults.LogDriver", &spec.task_defaults.unwrap_or_default().log_driver)?;
    let name = spec.name.filter(|name| !name.is_empty()).unwrap_or_else(|| NAME.into());
    if name != NAME {
        return Err(Error::invalid(format!("Name: swarm spec must be named {NAME:?}")));
    }
    let over = |value: u64, old: u64| if value == 0 { old } else { value };
    let heartbeat = non_negative("Dispatcher.HeartbeatPeriod", spec.dispatcher.unwrap_or_default().heartbeat_period)?;
    let expiry = non_negative("CAConfig.NodeCertExpiry", ca.node_cert_expiry)?;
    Ok(ClusterSpec {
        annotations: Annotations { name, labels: spec.labels.unwrap_or_else(|| base.annotations.labels.clone()) },
        task_history_limit: spec.orchestration.unwrap_or_default().history_limit.unwrap_or(base.task_history_limit),
        snapshot_interval: over(raft.snapshot_interval.unwrap_or_default(), base.snapshot_interval),
        heartbeat_period: over(heartbeat, base.heartbeat_period),
        node_cert_expiry: over(expiry, base.node_cert_expiry),
        autolock: spec.encryption.unwrap_or_default().auto_lock.unwrap_or(base.autolock),
        force_rotate: ca.force_rotate.unwrap_or(base.force_rotate),
    })
}

/// The root that an update brings along. It is no part of the spec: what the cluster believes is shown elsewhere, its key nowhere.
pub fn read_root(spec: &api::SwarmSpec) -> GivenRoot {
    let ca = spec.ca.clone().unwrap_or_default();
    GivenRoot { certificate: ca.signing_ca_cert.unwrap_or_default(), key: ca.signing_ca_key.unwrap_or_default() }
}

/// `swarm init`: what has no counterpart yet is refused unless it is what docker's CLI sends anyway.
pub fn read_init(request: api::InitRequest) -> Result<InitRequest> {
    if request.data_path_addr.is_some_and(|addr| !addr.is_empty()) {
        return Err(not_served("DataPathAddr"));
    }
    if !matches!(request.data_path_port, None | Some(0 | DATA_PATH_PORT)) {
        return Err(not_served("DataPathPort"));
    }
    if request.addr_pool.is_some_and(|pools| !pools.is_empty()) {
        return Err(not_served("DefaultAddrPool"));
    }
    if !matches!(request.subnet_size, None | Some(0 | SUBNET_SIZE)) {
        return Err(not_served("SubnetSize"));
    }
    let spec = request.spec.unwrap_or_default();
    if read_root(&spec) != GivenRoot::default() {
        return Err(not_served("Spec.CAConfig.SigningCACert"));
    }
    let availability = read_availability(request.availability.as_deref())?;
    let mut spec = read(spec, &ClusterSpec::default())?;
    spec.autolock |= request.auto_lock == Some(true);
    Ok(InitRequest {
        listen_addr: request.listen_addr.unwrap_or_default(),
        advertise_addr: request.advertise_addr.unwrap_or_default(),
        force_new_cluster: request.force_new_cluster == Some(true),
        spec,
        availability,
    })
}

fn read_availability(text: Option<&str>) -> Result<Availability> {
    match text {
        None | Some("") => Ok(Availability::Active),
        Some(text) => super::node::read_availability(text),
    }
}

/// `swarm join`.
pub fn read_join(request: api::JoinRequest) -> Result<JoinSwarm> {
    if request.data_path_addr.is_some_and(|addr| !addr.is_empty()) {
        return Err(not_served("DataPathAddr"));
    }
    Ok(JoinSwarm {
        listen_addr: request.listen_addr.unwrap_or_default(),
        advertise_addr: request.advertise_addr.unwrap_or_default(),
        remote_addrs: request.remote_addrs.unwrap_or_default(),
        join_token: request.join_token.unwrap_or_default(),
        availability: read_availability(request.availability.as_deref())?,
    })
}

/// A spec to the API.
pub fn write(spec: &ClusterSpec) -> api::SwarmSpec {
    api::SwarmSpec {
        name: Some(spec.annotations.name.clone()),
        labels: Some(spec.annotations.labels.clone()),
        orchestration: Some(api::Orchestration { history_limit: Some(spec.task_history_limit) }),
        raft: Some(api::RaftConfig {
            snapshot_interval: Some(spec.snapshot_interval),
            keep_old_snapshots: Some(0),
            entries_for_slow_followers: Some(SLOW_FOLLOWER_ENTRIES),
            election_tick: Some(TICKS[0].1),
            heartbeat_tick: Some(TICKS[1].1),
        }),
        dispatcher: Some(api::Dispatcher { heartbeat_period: go_nanos(spec.heartbeat_period) }),
        ca: Some(api::CaConfig {
            node_cert_expiry: go_nanos(spec.node_cert_expiry),
            force_rotate: (spec.force_rotate != 0).then_some(spec.force_rotate),
            ..Default::default()
        }),
        task_defaults: Some(api::TaskDefaults::default()),
        encryption: Some(api::Encryption { auto_lock: Some(spec.autolock) }),
    }
}

/// The cluster with its tokens: for managers' clients only.
pub fn object(cluster: &Cluster) -> api::Swarm {
    let info = info(cluster);
    api::Swarm {
        id: info.id,
        version: info.version,
        created_at: info.created_at,
        updated_at: info.updated_at,
        spec: info.spec,
        tls: info.tls,
        root_rotation: info.root_rotation,
        addr_pool: info.addr_pool,
        subnet_size: info.subnet_size,
        data_path_port: info.data_path_port,
        join_tokens: Some(api::JoinTokens { worker: Some(cluster.join_tokens.worker.clone()), manager: Some(cluster.join_tokens.manager.clone()) }),
    }
}

/// The cluster as `/info` shows it. Never the root's key.
pub fn info(cluster: &Cluster) -> ClusterInfo {
    ClusterInfo {
        id: Some(cluster.id.to_string()),
        version: model::Version::of(cluster.meta.version),
        created_at: Some(time::rfc3339(cluster.meta.created_at)),
        updated_at: Some(time::rfc3339(cluster.meta.updated_at)),
        spec: Some(write(&cluster.spec)),
        tls: Some(super::tls::cluster(cluster)),
        root_rotation: Some(cluster.rotation.is_some()),
        addr_pool: Some(vec!["10.0.0.0/8".into()]),
        subnet_size: Some(SUBNET_SIZE),
        data_path_port: Some(DATA_PATH_PORT),
    }
}
