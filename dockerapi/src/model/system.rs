//! `/info`, `/version`, `/events`, `/system/df`.

use super::node::TlsInfo;
use super::swarm::SwarmSpec;
use super::{Map, Version, answers};
use std::collections::BTreeMap;

answers! {
    /// `POST /auth`.
    LoginAnswer { status: &'static str = "Status", identity_token: &'static str = "IdentityToken" }
    /// `GET /info`.
    Info {
        id: String = "ID",
        containers: u64 = "Containers",
        running: u64 = "ContainersRunning",
        paused: u64 = "ContainersPaused",
        stopped: u64 = "ContainersStopped",
        images: u64 = "Images",
        driver: &'static str = "Driver",
        driver_status: Vec<[String; 2]> = "DriverStatus",
        plugins: Plugins = "Plugins",
        memory_limit: bool = "MemoryLimit",
        swap_limit: bool = "SwapLimit",
        cpu_period: bool = "CpuCfsPeriod",
        cpu_quota: bool = "CpuCfsQuota",
        cpu_shares: bool = "CPUShares",
        cpu_set: bool = "CPUSet",
        pids_limit: bool = "PidsLimit",
        oom_kill_disable: bool = "OomKillDisable",
        ipv4_forwarding: bool = "IPv4Forwarding",
        bridge_iptables: bool = "BridgeNfIptables",
        bridge_ip6tables: bool = "BridgeNfIp6tables",
        debug: bool = "Debug",
        file_descriptors: u64 = "NFd",
        goroutines: u64 = "NGoroutines",
        system_time: String = "SystemTime",
        logging_driver: &'static str = "LoggingDriver",
        cgroup_driver: &'static str = "CgroupDriver",
        cgroup_version: &'static str = "CgroupVersion",
        listeners: u64 = "NEventsListener",
        kernel: String = "KernelVersion",
        operating_system: String = "OperatingSystem",
        os_type: String = "OSType",
        architecture: String = "Architecture",
        index_server: &'static str = "IndexServerAddress",
        cpus: u64 = "NCPU",
        memory: u64 = "MemTotal",
        generic: Vec<super::task::GenericResource> = "GenericResources",
        root_dir: String = "DockerRootDir",
        name: String = "Name",
        labels: Vec<String> = "Labels",
        experimental: bool = "ExperimentalBuild",
        server_version: String = "ServerVersion",
        runtimes: BTreeMap<String, Runtime> = "Runtimes",
        default_runtime: &'static str = "DefaultRuntime",
        swarm: SwarmInfo = "Swarm",
        live_restore: bool = "LiveRestoreEnabled",
        isolation: &'static str = "Isolation",
        init_binary: &'static str = "InitBinary",
        security: Vec<String> = "SecurityOptions",
        warnings: Vec<String> = "Warnings",
    }
    /// Drivers by kind.
    Plugins { volume: Vec<String> = "Volume", network: Vec<String> = "Network", log: Vec<String> = "Log" }
    /// A shim.
    Runtime { path: String = "path" }
    /// This node's part in a swarm.
    SwarmInfo {
        node_id: String = "NodeID",
        node_addr: String = "NodeAddr",
        state: &'static str = "LocalNodeState",
        control: bool = "ControlAvailable",
        error: String = "Error",
        managers_known: Vec<Peer> = "RemoteManagers",
        nodes: u64 = "Nodes",
        managers: u64 = "Managers",
        cluster: ClusterInfo = "Cluster",
    }
    /// A manager.
    Peer { node_id: String = "NodeID", addr: String = "Addr" }
    /// The cluster without its tokens.
    ClusterInfo {
        id: String = "ID",
        version: Version = "Version",
        created_at: String = "CreatedAt",
        updated_at: String = "UpdatedAt",
        spec: SwarmSpec = "Spec",
        tls: TlsInfo = "TLSInfo",
        root_rotation: bool = "RootRotationInProgress",
        addr_pool: Vec<String> = "DefaultAddrPool",
        subnet_size: u32 = "SubnetSize",
        data_path_port: u32 = "DataPathPort",
    }
    /// `GET /version`.
    VersionInfo {
        platform: PlatformName = "Platform",
        components: Vec<Component> = "Components",
        version: String = "Version",
        api_version: String = "ApiVersion",
        min_api_version: String = "MinAPIVersion",
        git_commit: &'static str = "GitCommit",
        go_version: &'static str = "GoVersion",
        os: String = "Os",
        arch: String = "Arch",
        kernel: String = "KernelVersion",
        build_time: &'static str = "BuildTime",
    }
    /// The product.
    PlatformName { name: String = "Name" }
    /// A part of it.
    Component { name: &'static str = "Name", version: String = "Version", details: Map = "Details" }
    /// One line of `GET /events`. `status` and `id` are what clients before 1.22 read; moby still sends them for local objects.
    Event {
        status: String = "status",
        id: String = "id",
        from: String = "from",
        kind: &'static str = "Type",
        action: String = "Action",
        actor: Actor = "Actor",
        scope: &'static str = "scope",
        time: u64 = "time",
        time_nanos: u64 = "timeNano",
    }
    /// What it is about.
    Actor { id: String = "ID", attributes: Map = "Attributes" }
    /// `GET /system/df`.
    DiskUsage {
        layers_size: u64 = "LayersSize",
        images: Vec<super::image::ImageSummary> = "Images",
        containers: Vec<super::container::ContainerSummary> = "Containers",
        volumes: Vec<super::volume::Volume> = "Volumes",
        build_cache: Vec<super::image::CacheRecord> = "BuildCache",
    }
}
