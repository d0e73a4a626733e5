//! Tasks and their specs (`swarm.Task`, `swarm.TaskSpec`).

use super::{Map, Platform, Unserved, Version, answers, model, mount::Mount};
use std::sync::Arc;

model! {
    /// What each task runs.
    TaskSpec {
        plugin_spec: Unserved = "PluginSpec",
        container: ContainerSpec = "ContainerSpec",
        attachment: Unserved = "NetworkAttachmentSpec",
        resources: Resources = "Resources",
        restart: RestartPolicy = "RestartPolicy",
        placement: Placement = "Placement",
        networks: Vec<super::network::Attachment> = "Networks",
        log_driver: LogDriver = "LogDriver",
        force_update: u64 = "ForceUpdate",
        runtime: String = "Runtime",
    }
    /// The program and its surroundings.
    ContainerSpec {
        image: String = "Image",
        labels: Map = "Labels",
        command: Vec<String> = "Command",
        args: Vec<String> = "Args",
        hostname: String = "Hostname",
        env: Vec<String> = "Env",
        dir: String = "Dir",
        user: String = "User",
        groups: Vec<String> = "Groups",
        privileges: Privileges = "Privileges",
        init: bool = "Init",
        stop_signal: String = "StopSignal",
        tty: bool = "TTY",
        open_stdin: bool = "OpenStdin",
        read_only: bool = "ReadOnly",
        mounts: Vec<Mount> = "Mounts",
        stop_grace_period: i64 = "StopGracePeriod",
        healthcheck: HealthConfig = "Healthcheck",
        hosts: Vec<String> = "Hosts",
        dns: Dns = "DNSConfig",
        secrets: Unserved = "Secrets",
        configs: Unserved = "Configs",
        isolation: String = "Isolation",
        sysctls: Map = "Sysctls",
        capability_add: Vec<String> = "CapabilityAdd",
        capability_drop: Vec<String> = "CapabilityDrop",
        ulimits: Vec<Ulimit> = "Ulimits",
        oom_score_adj: i64 = "OomScoreAdj",
    }
    /// Name servers and how names are looked up.
    Dns { nameservers: Vec<String> = "Nameservers", search: Vec<String> = "Search", options: Vec<String> = "Options" }
    /// A limit of each process.
    Ulimit { name: String = "Name", hard: i64 = "Hard", soft: i64 = "Soft" }
    /// What a process may become.
    Privileges {
        credential_spec: Unserved = "CredentialSpec",
        selinux: SeLinux = "SELinuxContext",
        seccomp: SeccompOptions = "Seccomp",
        apparmor: AppArmorOptions = "AppArmor",
        no_new_privileges: bool = "NoNewPrivileges",
    }
    /// Labels of SELinux.
    SeLinux { disable: bool = "Disable", user: String = "User", role: String = "Role", kind: String = "Type", level: String = "Level" }
    /// Which system calls are let through; a profile is base64.
    SeccompOptions { mode: String = "Mode", profile: String = "Profile" }
    /// Whether AppArmor's profile is wanted.
    AppArmorOptions { mode: String = "Mode" }
    /// A health check; durations are nanoseconds.
    HealthConfig {
        test: Vec<String> = "Test",
        interval: i64 = "Interval",
        timeout: i64 = "Timeout",
        start_period: i64 = "StartPeriod",
        start_interval: i64 = "StartInterval",
        retries: i64 = "Retries",
    }
    /// Where logs go, and its options.
    LogDriver { name: String = "Name", options: Map = "Options" }
    /// Limits and reservations.
    Resources {
        limits: Amounts = "Limits",
        reservations: Amounts = "Reservations",
        swap_bytes: Unserved = "SwapBytes",
        memory_swappiness: Unserved = "MemorySwappiness",
    }
    /// CPUs in billionths, bytes, processes.
    Amounts {
        nano_cpus: i64 = "NanoCPUs",
        memory_bytes: i64 = "MemoryBytes",
        pids: i64 = "Pids",
        generic: Vec<GenericResource> = "GenericResources",
    }
    /// Something beside CPUs and memory, by name or by number.
    GenericResource { named: NamedResource = "NamedResourceSpec", discrete: DiscreteResource = "DiscreteResourceSpec" }
    /// One thing of a kind.
    NamedResource { kind: String = "Kind", value: String = "Value" }
    /// So many of a kind.
    DiscreteResource { kind: String = "Kind", value: i64 = "Value" }
    /// When a finished task is replaced.
    RestartPolicy {
        condition: String = "Condition",
        delay: i64 = "Delay",
        max_attempts: u64 = "MaxAttempts",
        window: i64 = "Window",
    }
    /// Where tasks may run.
    Placement {
        constraints: Vec<String> = "Constraints",
        preferences: Vec<Preference> = "Preferences",
        max_replicas: u64 = "MaxReplicas",
        platforms: Vec<Platform> = "Platforms",
    }
    /// One placement preference.
    Preference { spread: Spread = "Spread" }
    /// Spread over the values of a label.
    Spread { descriptor: String = "SpreadDescriptor" }
}

answers! {
    /// One task.
    Task {
        id: String = "ID",
        version: Version = "Version",
        created_at: String = "CreatedAt",
        updated_at: String = "UpdatedAt",
        labels: Map = "Labels",
        spec: Arc<TaskSpec> = "Spec",
        service: String = "ServiceID",
        slot: u32 = "Slot",
        node: String = "NodeID",
        status: TaskStatus = "Status",
        desired: &'static str = "DesiredState",
        networks: Vec<super::network::TaskAttachment> = "NetworksAttachments",
        generic: Vec<GenericResource> = "GenericResources",
        job_iteration: Version = "JobIteration",
    }
    /// What the worker says of it.
    TaskStatus {
        timestamp: String = "Timestamp",
        state: &'static str = "State",
        message: String = "Message",
        err: String = "Err",
        container: ContainerStatus = "ContainerStatus",
        ports: PortStatus = "PortStatus",
    }
    /// Its container.
    ContainerStatus { id: String = "ContainerID", pid: u32 = "PID", exit_code: u32 = "ExitCode" }
    /// Ports in host mode.
    PortStatus { ports: Vec<super::service::Port> = "Ports" }
}
