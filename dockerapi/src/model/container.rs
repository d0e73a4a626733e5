//! Containers (`container.Summary`, `container.InspectResponse`): the tasks of this node as `docker ps` shows them.

use super::{Empty, Map, answers};
use std::collections::BTreeMap;

answers! {
    /// A line of `docker ps`.
    ContainerSummary {
        id: String = "Id",
        names: Vec<String> = "Names",
        image: String = "Image",
        image_id: String = "ImageID",
        command: String = "Command",
        created: u64 = "Created",
        ports: Vec<PortSummary> = "Ports",
        size_rw: u64 = "SizeRw",
        size_root: u64 = "SizeRootFs",
        labels: Map = "Labels",
        state: &'static str = "State",
        status: String = "Status",
        host_config: NetworkMode = "HostConfig",
        network: NetworkSettings = "NetworkSettings",
        mounts: Vec<MountPoint> = "Mounts",
    }
    /// What it sees of the node's files, at one place.
    MountPoint {
        kind: &'static str = "Type",
        name: String = "Name",
        source: String = "Source",
        target: String = "Destination",
        driver: String = "Driver",
        mode: &'static str = "Mode",
        writable: bool = "RW",
        propagation: &'static str = "Propagation",
    }
    /// One port of a container.
    PortSummary { ip: String = "IP", private: u16 = "PrivatePort", public: u16 = "PublicPort", kind: &'static str = "Type" }
    /// Which network it is on.
    NetworkMode { mode: &'static str = "NetworkMode" }
    /// `GET /containers/{id}/json`.
    ContainerInspect {
        id: String = "Id",
        created: String = "Created",
        path: String = "Path",
        args: Vec<String> = "Args",
        state: ContainerState = "State",
        image: String = "Image",
        name: String = "Name",
        restart_count: u32 = "RestartCount",
        driver: &'static str = "Driver",
        platform: String = "Platform",
        exec_ids: Option<Vec<String>> = "ExecIDs",
        host_config: HostConfig = "HostConfig",
        size_rw: u64 = "SizeRw",
        size_root: u64 = "SizeRootFs",
        mounts: Vec<MountPoint> = "Mounts",
        config: ContainerConfig = "Config",
        network: NetworkSettings = "NetworkSettings",
    }
    /// Where it is.
    ContainerState {
        status: &'static str = "Status",
        running: bool = "Running",
        paused: bool = "Paused",
        restarting: bool = "Restarting",
        oom_killed: bool = "OOMKilled",
        dead: bool = "Dead",
        pid: u32 = "Pid",
        exit_code: u32 = "ExitCode",
        error: String = "Error",
        started_at: String = "StartedAt",
        finished_at: String = "FinishedAt",
        health: Health = "Health",
    }
    /// What its health check found.
    Health { status: &'static str = "Status", failing: u32 = "FailingStreak", log: Vec<HealthResult> = "Log" }
    /// One probe.
    HealthResult { start: String = "Start", end: String = "End", code: i32 = "ExitCode", output: String = "Output" }
    /// How the node runs it.
    HostConfig {
        log: LogConfig = "LogConfig",
        mode: &'static str = "NetworkMode",
        port_bindings: BTreeMap<String, Vec<Binding>> = "PortBindings",
        restart: RestartPolicy = "RestartPolicy",
        auto_remove: bool = "AutoRemove",
        capability_add: Option<Vec<String>> = "CapAdd",
        capability_drop: Option<Vec<String>> = "CapDrop",
        dns: Vec<String> = "Dns",
        dns_options: Vec<String> = "DnsOptions",
        dns_search: Vec<String> = "DnsSearch",
        hosts: Option<Vec<String>> = "ExtraHosts",
        groups: Option<Vec<String>> = "GroupAdd",
        ipc: &'static str = "IpcMode",
        oom_score_adj: i64 = "OomScoreAdj",
        pid: &'static str = "PidMode",
        privileged: bool = "Privileged",
        read_only: bool = "ReadonlyRootfs",
        security: Option<Vec<String>> = "SecurityOpt",
        shm_size: u64 = "ShmSize",
        sysctls: Map = "Sysctls",
        runtime: String = "Runtime",
        memory: u64 = "Memory",
        nano_cpus: u64 = "NanoCpus",
        pids: Option<u64> = "PidsLimit",
        ulimits: Vec<super::task::Ulimit> = "Ulimits",
        init: bool = "Init",
    }
    /// Its log driver.
    LogConfig { kind: String = "Type", config: Map = "Config" }
    /// Always `no`: the swarm restarts tasks.
    RestartPolicy { name: &'static str = "Name", retries: u32 = "MaximumRetryCount" }
    /// A port of the node.
    Binding { ip: String = "HostIp", port: String = "HostPort" }
    /// What it runs.
    ContainerConfig {
        hostname: String = "Hostname",
        user: String = "User",
        exposed: BTreeMap<String, Empty> = "ExposedPorts",
        tty: bool = "Tty",
        open_stdin: bool = "OpenStdin",
        env: Vec<String> = "Env",
        cmd: Vec<String> = "Cmd",
        image: String = "Image",
        working_dir: String = "WorkingDir",
        entrypoint: Vec<String> = "Entrypoint",
        labels: Map = "Labels",
        stop_signal: String = "StopSignal",
        healthcheck: super::task::HealthConfig = "Healthcheck",
    }
    /// Its ports and networks; the fields between are those of the node's own network.
    NetworkSettings {
        sandbox: String = "SandboxKey",
        ports: BTreeMap<String, Vec<Binding>> = "Ports",
        gateway: String = "Gateway",
        ip: String = "IPAddress",
        prefix: u32 = "IPPrefixLen",
        mac: String = "MacAddress",
        networks: BTreeMap<String, EndpointSettings> = "Networks",
    }
    /// Its place on one network.
    EndpointSettings {
        aliases: Vec<String> = "Aliases",
        network_id: String = "NetworkID",
        endpoint_id: &'static str = "EndpointID",
        gateway: String = "Gateway",
        ip: String = "IPAddress",
        prefix: u32 = "IPPrefixLen",
        mac: String = "MacAddress",
    }
}
