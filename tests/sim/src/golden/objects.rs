//! Objects with every field set: what frames and entries carry. Keys of maps begin with a capital letter (`walk` tells them from fields by it).

use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::generic::{GenericReservation, GenericResource};
use wsw_api::health::HealthConfig;
use wsw_api::id::{ClusterId, NetworkId, NodeId, ServiceId, TaskId};
use wsw_api::network::{Ipam, Network, NetworkAttachment, NetworkScope, NetworkSpec, Pool};
use wsw_api::object::{
    Cluster, JobStatus, JoinTokens, ManagerStatus, Meta, Node, NodeDescription, NodeState, NodeStatus, Service, Template, UpdateState, UpdateStatus,
};
use wsw_api::spec::{
    Annotations, Availability, BindOptions, ClusterSpec, Confinement, ContainerSpec, Dns, EndpointMode, EndpointSpec, FailureAction, LogDriver, Mount,
    MountKind, NodeRole, NodeSpec, Placement, Platform, PortConfig, Protocol, PublishMode, ResourceRequirements, Resources, RestartCondition, RestartPolicy,
    Seccomp, ServiceMode, ServiceSpec, TaskSpec, TmpfsOptions, Ulimit, UpdateConfig, UpdateOrder, VolumeDriver, VolumeOptions,
};
use wsw_api::task::{DesiredState, Task, TaskState, TaskStatus};
use wsw_api::time::Time;
use wsw_api::trust::{Issuer, RootRotation};
use wsw_api::unlock::UnlockKey;

pub fn cluster_id() -> ClusterId {
    ClusterId::from_bytes([0xc1; 16])
}
pub fn node_id() -> NodeId {
    NodeId::from_bytes([0x0d; 16])
}
pub fn service_id() -> ServiceId {
    ServiceId::from_bytes([0x5e; 16])
}
pub fn task_id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}
pub fn network_id() -> NetworkId {
    NetworkId::from_bytes([0x4e; 16])
}

fn map(key: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), "value".to_owned())].into()
}
fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}
pub fn annotations(name: &str) -> Annotations {
    Annotations { name: name.into(), labels: map("Label") }
}
pub fn meta() -> Meta {
    Meta { version: 300, created_at: Time(1_700_000_000_000_000_000), updated_at: Time(1_700_000_001_000_000_000) }
}
pub fn issuer() -> Issuer {
    Issuer { subject: "c3ViamVjdA==".into(), public_key: "a2V5".into() }
}
pub fn port() -> PortConfig {
    PortConfig { name: "web".into(), protocol: Protocol::Udp, target: 53, published: 8_053, mode: PublishMode::Host }
}
pub fn generic() -> Vec<GenericResource> {
    vec![GenericResource::Discrete { kind: "gpu".into(), value: 2 }, GenericResource::Named { kind: "ssd".into(), name: "sda".into() }]
}
fn platform() -> Platform {
    Platform { os: "wasi".into(), architecture: "wasm".into() }
}

fn mounts() -> Vec<Mount> {
    let bind = BindOptions { non_recursive: true, create_mountpoint: true, read_only_non_recursive: true, read_only_force_recursive: true };
    let driver = VolumeDriver { name: "local".into(), options: map("Option") };
    let volume = VolumeOptions { no_copy: true, labels: map("Label"), subpath: "sub".into(), driver: Some(driver) };
    let of = |kind, source: &str| Mount { kind, source: source.into(), target: "/t".into(), read_only: true, consistency: "cached".into(), ..Mount::default() };
    vec![
        Mount { bind: Some(bind), ..of(MountKind::Bind, "/s") },
        Mount { volume: Some(volume), ..of(MountKind::Volume, "data") },
        Mount { tmpfs: Some(TmpfsOptions { size_bytes: 1 << 20, mode: 0o700 }), ..of(MountKind::Tmpfs, "") },
    ]
}

fn container() -> ContainerSpec {
    ContainerSpec {
        image: "app:1@sha256:00".into(),
        labels: map("Label"),
        command: texts(&["run"]),
        args: texts(&["-v"]),
        env: texts(&["A=b"]),
        hostname: "host".into(),
        dir: "/d".into(),
        user: "1:2".into(),
        groups: texts(&["3"]),
        tty: true,
        open_stdin: true,
        read_only: true,
        init: Some(false),
        stop_signal: "SIGINT".into(),
        stop_grace_period: Some(3_000_000_000),
        mounts: mounts(),
        confinement: Confinement {
            hosts: texts(&["10.0.0.1 a"]),
            dns: Dns { nameservers: texts(&["10.0.0.2"]), search: texts(&["example.com"]), options: texts(&["ndots:1"]) },
            sysctls: map("Sysctl"),
            capability_add: texts(&["CAP_NET_ADMIN"]),
            capability_drop: texts(&["ALL"]),
            ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: -1 }],
            oom_score_adj: -5,
            no_new_privileges: true,
            seccomp: Seccomp::Custom("{}".into()),
            apparmor_disabled: true,
        },
        healthcheck: Some(HealthConfig { test: texts(&["CMD", "true"]), interval: 1, timeout: 2, start_period: 3, start_interval: 4, retries: 5 }),
    }
}

pub fn task_spec() -> TaskSpec {
    let amounts = Resources { nano_cpus: 500_000_000, memory_bytes: 64 << 20, pids: 100 };
    TaskSpec {
        container: container(),
        resources: ResourceRequirements { limits: amounts, reservations: amounts, generic: vec![GenericReservation { kind: "gpu".into(), value: 1 }] },
        restart: RestartPolicy { condition: RestartCondition::OnFailure, delay: 5, max_attempts: 3, window: 7 },
        placement: Placement { constraints: texts(&["node.role==worker"]), spread: texts(&["node.labels.zone"]), max_replicas: 2, platforms: vec![platform()] },
        log_driver: Some(LogDriver { name: "local".into(), options: map("Max") }),
        force_update: 9,
        networks: vec![NetworkAttachment { network: network_id(), aliases: texts(&["web"]), options: map("Option") }],
    }
}

pub fn endpoint() -> EndpointSpec {
    EndpointSpec { mode: EndpointMode::DnsRoundRobin, ports: vec![port()] }
}

pub fn service_spec(mode: ServiceMode) -> ServiceSpec {
    let update = |action, order| UpdateConfig { parallelism: 2, delay: 3, failure_action: action, monitor: 4, max_failure_ratio_ppm: 250_000, order };
    ServiceSpec {
        annotations: annotations("web"),
        task: task_spec(),
        mode,
        update: Some(update(FailureAction::Rollback, UpdateOrder::StartFirst)),
        rollback: Some(update(FailureAction::Continue, UpdateOrder::StopFirst)),
        endpoint: endpoint(),
    }
}

pub fn service() -> Service {
    let spec = Arc::new(service_spec(ServiceMode::Replicated { replicas: 70_000 }));
    let status = UpdateStatus { state: UpdateState::RollbackStarted, started_at: Time(5), completed_at: Some(Time(6)), message: "update rolled back".into() };
    Service {
        id: service_id(),
        meta: meta(),
        spec: spec.clone(),
        previous_spec: Some(spec),
        template: 3,
        previous_template: Some(2),
        ports: vec![port()],
        update_status: Some(status),
        pending_delete: false,
        job: Some(JobStatus { iteration: 4, last_execution: Time(8) }),
    }
}

pub fn template() -> Template {
    Template { service: service_id(), version: 3, annotations: annotations("web"), spec: Arc::new(task_spec()), endpoint: endpoint() }
}

pub fn description() -> Arc<NodeDescription> {
    Arc::new(NodeDescription {
        hostname: "host".into(),
        platform: Platform { os: "linux".into(), architecture: "s390x".into() },
        platforms: vec![platform()],
        resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, pids: 0 },
        engine_version: "0.1.0".into(),
        engine_labels: map("Label"),
        plugins: vec![("Runtime".into(), "io.wsw.wasm.v1".into())],
        wasm_isolation: "user, seccomp".into(),
        problems: texts(&["port 80/tcp"]),
        trust_root: "PEM".into(),
        generic: generic(),
        addr: "10.0.0.3:2377".into(),
        issuer: issuer(),
    })
}

pub fn node_spec() -> NodeSpec {
    NodeSpec { annotations: annotations(""), role: NodeRole::Manager, availability: Availability::Drain }
}

pub fn node_status() -> NodeStatus {
    NodeStatus { state: NodeState::Disconnected, message: "heartbeat failure".into(), addr: "10.0.0.3".into() }
}

pub fn node() -> Node {
    let manager = Some(ManagerStatus { raft_id: 0x1f_ffff_ffff_ffff, addr: "10.0.0.3:2377".into() });
    Node { id: node_id(), meta: meta(), spec: node_spec(), description: description(), status: node_status(), manager }
}

pub fn rotation() -> RootRotation {
    RootRotation { root_ca: "new PEM".into(), root_key: "key".into(), cross_signed: "crossed".into(), issuer: issuer(), join_tokens: tokens() }
}

fn tokens() -> JoinTokens {
    JoinTokens { worker: "SWMTKN-1-w".into(), manager: "SWMTKN-1-m".into() }
}

pub fn cluster_spec() -> ClusterSpec {
    ClusterSpec {
        annotations: annotations("default"),
        task_history_limit: -1,
        snapshot_interval: 10_000,
        heartbeat_period: 5_000_000_000,
        node_cert_expiry: 7_776_000_000_000_000,
        autolock: true,
        force_rotate: 2,
    }
}

pub fn cluster() -> Cluster {
    Cluster {
        id: cluster_id(),
        meta: meta(),
        spec: cluster_spec(),
        root_ca: "PEM".into(),
        root_key: "key".into(),
        join_tokens: tokens(),
        incarnation: 2,
        feature_level: 1,
        unlock_key: Some(UnlockKey::from_body("a2V5")),
        issuer: issuer(),
        cross_signed: Some("crossed".into()),
        rotation: Some(Box::new(rotation())),
    }
}

pub fn network_spec() -> NetworkSpec {
    let pool = Pool { subnet: "10.0.9.0/24".into(), range: "10.0.9.0/25".into(), gateway: "10.0.9.1".into(), auxiliary: map("Host") };
    NetworkSpec {
        annotations: annotations("front"),
        driver: "overlay".into(),
        scope: NetworkScope::Swarm,
        internal: true,
        attachable: true,
        ipv4: true,
        ipv6: true,
        options: map("Option"),
        ipam: Ipam { driver: "default".into(), options: map("Option"), pools: vec![pool] },
    }
}

pub fn network() -> Network {
    Network { id: network_id(), meta: meta(), spec: network_spec() }
}

pub fn status() -> TaskStatus {
    TaskStatus { state: TaskState::Failed, at: Time(77), message: "started".into(), err: "exit 3".into(), exit_code: Some(3), pid: Some(4_000) }
}

pub fn task() -> Task {
    Task {
        id: task_id(1),
        meta: meta(),
        service: service_id(),
        slot: 7,
        template: 3,
        node: Some(node_id()),
        desired: DesiredState::Shutdown,
        restart_at: Some(Time(9)),
        replaces: Some(task_id(2)),
        job_iteration: 4,
        status: status(),
        attempts: 2,
        ended_at: Some(Time(10)),
        claims: Some(generic().into()),
    }
}
