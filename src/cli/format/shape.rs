//! The Go types behind `inspect`, `info` and `version`: which fields exist, in which order, which ones JSON leaves out when empty.
//!
//! docker decodes an answer into these types and prints the types, so fields appear in this order, unknown ones vanish and absent
//! ones show their zero value. The table below is the whole knowledge; a field is `Name:type`, or `Name=json:type` where the
//! JSON spelling differs. Types: `s` text, `i` integer, `f` float, `b` boolean, `d` duration, `t` time, `m` map of texts, `y` bytes,
//! `a` anything, or a type of the table; before it `*` a pointer, `[]` a list, `{}` a map; behind it `?` for "omit when empty".

use std::{collections::BTreeMap, sync::OnceLock};

use crate::cli::template::{Kind, Val};

const TYPES: &str = "
swarm.Service ID:s Version:swarm.Version CreatedAt:t UpdatedAt:t Spec:swarm.ServiceSpec PreviousSpec:*swarm.ServiceSpec? Endpoint:swarm.Endpoint UpdateStatus:*swarm.UpdateStatus? ServiceStatus:*swarm.ServiceStatus? JobStatus:*swarm.JobStatus?
swarm.Version Index:i?
swarm.ServiceSpec Name:s? Labels:m TaskTemplate:swarm.TaskSpec Mode:swarm.ServiceMode UpdateConfig:*swarm.UpdateConfig? RollbackConfig:*swarm.UpdateConfig? Networks:[]swarm.NetworkAttachmentConfig? EndpointSpec:*swarm.EndpointSpec?
swarm.ServiceMode Replicated:*swarm.ReplicatedService? Global:*swarm.GlobalService? ReplicatedJob:*swarm.ReplicatedJob? GlobalJob:*swarm.GlobalJob?
swarm.UpdateStatus State:s? StartedAt:*t? CompletedAt:*t? Message:s?
swarm.ReplicatedService Replicas:*i?
swarm.GlobalService
swarm.GlobalJob
swarm.ReplicatedJob MaxConcurrent:*i? TotalCompletions:*i?
swarm.UpdateConfig Parallelism:i Delay:d? FailureAction:s? Monitor:d? MaxFailureRatio:f Order:s
swarm.ServiceStatus RunningTasks:i DesiredTasks:i CompletedTasks:i
swarm.JobStatus JobIteration:swarm.Version LastExecution:t
swarm.TaskSpec ContainerSpec:*swarm.ContainerSpec? PluginSpec:a? NetworkAttachmentSpec:a? Resources:*swarm.ResourceRequirements? RestartPolicy:*swarm.RestartPolicy? Placement:*swarm.Placement? Networks:[]swarm.NetworkAttachmentConfig? LogDriver:*swarm.Driver? ForceUpdate:i Runtime:s?
swarm.ContainerSpec Image:s? Labels:m? Command:[]s? Args:[]s? Hostname:s? Env:[]s? Dir:s? User:s? Groups:[]s? Privileges:*swarm.Privileges? Init:*b? StopSignal:s? TTY:b? OpenStdin:b? ReadOnly:b? Mounts:[]mount.Mount? StopGracePeriod:*d? Healthcheck:*container.HealthConfig? Hosts:[]s? DNSConfig:*swarm.DNSConfig? Secrets:[]swarm.SecretReference? Configs:[]swarm.ConfigReference? Isolation:s? Sysctls:m? CapabilityAdd:[]s? CapabilityDrop:[]s? Ulimits:[]container.Ulimit? OomScoreAdj:i?
swarm.DNSConfig Nameservers:[]s? Search:[]s? Options:[]s?
swarm.Privileges CredentialSpec:*swarm.CredentialSpec SELinuxContext:*swarm.SELinuxContext Seccomp:*swarm.SeccompOpts? AppArmor:*swarm.AppArmorOpts? NoNewPrivileges:b
swarm.CredentialSpec Config:s File:s Registry:s
swarm.SELinuxContext Disable:b User:s Role:s Type:s Level:s
swarm.SeccompOpts Mode:s? Profile:y?
swarm.AppArmorOpts Mode:s?
swarm.SecretReference File:*swarm.SecretReferenceFileTarget SecretID:s SecretName:s
swarm.SecretReferenceFileTarget Name:s UID:s GID:s Mode:i
swarm.ConfigReference File:*swarm.ConfigReferenceFileTarget? Runtime:*swarm.ConfigReferenceRuntimeTarget? ConfigID:s ConfigName:s
swarm.ConfigReferenceFileTarget Name:s UID:s GID:s Mode:i
swarm.ConfigReferenceRuntimeTarget
mount.Mount Type:s? Source:s? Target:s? ReadOnly:b? Consistency:s? BindOptions:*mount.BindOptions? VolumeOptions:*mount.VolumeOptions? ImageOptions:*mount.ImageOptions? TmpfsOptions:*mount.TmpfsOptions? ClusterOptions:*mount.ClusterOptions?
mount.BindOptions Propagation:s? NonRecursive:b? CreateMountpoint:b? ReadOnlyNonRecursive:b? ReadOnlyForceRecursive:b?
mount.VolumeOptions NoCopy:b? Labels:m? Subpath:s? DriverConfig:*swarm.Driver?
mount.ImageOptions Subpath:s?
mount.TmpfsOptions SizeBytes:i? Mode:i? Options:a?
mount.ClusterOptions
container.HealthConfig Test:[]s? Interval:d? Timeout:d? StartPeriod:d? StartInterval:d? Retries:i?
container.Ulimit Name:s Hard:i Soft:i
swarm.Driver Name:s? Options:m?
swarm.ResourceRequirements Limits:*swarm.Limit? Reservations:*swarm.Resources?
swarm.Limit NanoCPUs:i? MemoryBytes:i? Pids:i?
swarm.Resources NanoCPUs:i? MemoryBytes:i? GenericResources:[]swarm.GenericResource?
swarm.GenericResource NamedResourceSpec:*swarm.NamedGenericResource? DiscreteResourceSpec:*swarm.DiscreteGenericResource?
swarm.NamedGenericResource Kind:s? Value:s?
swarm.DiscreteGenericResource Kind:s? Value:i?
swarm.RestartPolicy Condition:s? Delay:*d? MaxAttempts:*i? Window:*d?
swarm.Placement Constraints:[]s? Preferences:[]swarm.PlacementPreference? MaxReplicas:i? Platforms:[]swarm.Platform?
swarm.PlacementPreference Spread:*swarm.SpreadOver
swarm.SpreadOver SpreadDescriptor:s
swarm.NetworkAttachmentConfig Target:s? Aliases:[]s? DriverOpts:m?
swarm.Endpoint Spec:swarm.EndpointSpec Ports:[]swarm.PortConfig? VirtualIPs:[]swarm.EndpointVirtualIP?
swarm.EndpointSpec Mode:s? Ports:[]swarm.PortConfig?
swarm.PortConfig Name:s? Protocol:s? TargetPort:i? PublishedPort:i? PublishMode:s?
swarm.EndpointVirtualIP NetworkID:s? Addr:s?
swarm.Node ID:s Version:swarm.Version CreatedAt:t UpdatedAt:t Spec:swarm.NodeSpec Description:swarm.NodeDescription Status:swarm.NodeStatus ManagerStatus:*swarm.ManagerStatus?
swarm.NodeSpec Name:s? Labels:m Role:s? Availability:s?
swarm.NodeDescription Hostname:s? Platform:swarm.Platform Resources:swarm.Resources Engine:swarm.EngineDescription TLSInfo:swarm.TLSInfo CSIInfo:[]a?
swarm.Platform Architecture:s? OS:s?
swarm.EngineDescription EngineVersion:s? Labels:m? Plugins:[]swarm.PluginDescription?
swarm.PluginDescription Type:s? Name:s?
swarm.TLSInfo TrustRoot:s? CertIssuerSubject:y? CertIssuerPublicKey:y?
swarm.NodeStatus State:s? Message:s? Addr:s?
swarm.ManagerStatus Leader:b? Reachability:s? Addr:s?
swarm.Info NodeID:s NodeAddr:s LocalNodeState:s ControlAvailable:b Error:s RemoteManagers:[]swarm.Peer Nodes:i? Managers:i? Cluster:*swarm.ClusterInfo? Warnings:[]s?
swarm.Peer NodeID:s Addr:s
swarm.ClusterInfo ID:s Version:swarm.Version CreatedAt:t UpdatedAt:t Spec:swarm.Spec TLSInfo:swarm.TLSInfo RootRotationInProgress:b DefaultAddrPool:[]s SubnetSize:i DataPathPort:i
swarm.Spec Name:s? Labels:m Orchestration:swarm.OrchestrationConfig Raft:swarm.RaftConfig Dispatcher:swarm.DispatcherConfig CAConfig:swarm.CAConfig TaskDefaults:swarm.TaskDefaults EncryptionConfig:swarm.EncryptionConfig
swarm.OrchestrationConfig TaskHistoryRetentionLimit:*i?
swarm.RaftConfig SnapshotInterval:i? KeepOldSnapshots:*i? LogEntriesForSlowFollowers:i? ElectionTick:i HeartbeatTick:i
swarm.DispatcherConfig HeartbeatPeriod:d?
swarm.CAConfig NodeCertExpiry:d? ExternalCAs:[]a? SigningCACert:s? SigningCAKey:s? ForceRotate:i?
swarm.TaskDefaults LogDriver:*swarm.Driver?
swarm.EncryptionConfig AutoLockManagers:b
system.dockerInfo ID:s Containers:i ContainersRunning:i ContainersPaused:i ContainersStopped:i Images:i Driver:s DriverStatus:[]a SystemStatus:[]a? Plugins:system.PluginsInfo MemoryLimit:b SwapLimit:b KernelMemory:b? KernelMemoryTCP:b? CPUCfsPeriod=CpuCfsPeriod:b CPUCfsQuota=CpuCfsQuota:b CPUShares:b CPUSet:b PidsLimit:b IPv4Forwarding:b Debug:b NFd:i OomKillDisable:b NGoroutines:i SystemTime:s LoggingDriver:s CgroupDriver:s CgroupVersion:s? NEventsListener:i KernelVersion:s OperatingSystem:s OSVersion:s OSType:s Architecture:s IndexServerAddress:s RegistryConfig:*registry.ServiceConfig NCPU:i MemTotal:i GenericResources:[]swarm.GenericResource DockerRootDir:s HTTPProxy=HttpProxy:s HTTPSProxy=HttpsProxy:s NoProxy:s Name:s Labels:[]s ExperimentalBuild:b ServerVersion:s Runtimes:{}a DefaultRuntime:s Swarm:swarm.Info LiveRestoreEnabled:b Isolation:s InitBinary:s ContainerdCommit:system.Commit RuncCommit:system.Commit InitCommit:system.Commit SecurityOptions:[]s ProductLicense:s? DefaultAddressPools:[]system.NetworkAddressPool? FirewallBackend:a? CDISpecDirs:[]s DiscoveredDevices:[]a? Containerd:a? Warnings:[]s ServerErrors:[]s? ClientInfo:*system.clientInfo? ClientErrors:[]s?
system.PluginsInfo Volume:[]s Network:[]s Authorization:[]s Log:[]s
system.Commit ID:s Expected:s?
system.NetworkAddressPool Base:s Size:i
registry.ServiceConfig AllowNondistributableArtifactsCIDRs:[]a? AllowNondistributableArtifactsHostnames:[]a? InsecureRegistryCIDRs:[]a IndexConfigs:{}a Mirrors:[]s
system.clientInfo Debug:b Platform:*system.platformInfo? Version:s? APIVersion=ApiVersion:s? DefaultAPIVersion:s? GitCommit:s? GoVersion:s? Os:s? Arch:s? BuildTime:s? Context:s Plugins:[]a Warnings:[]s
system.platformInfo Name:s?
system.versionInfo Client:system.clientVersion Server:*types.Version
system.clientVersion Platform:*system.platformInfo? Version:s? APIVersion=ApiVersion:s? DefaultAPIVersion:s? GitCommit:s? GoVersion:s? Os:s? Arch:s? BuildTime:s? Context:s
types.Version Platform:types.Platform Components:[]types.ComponentVersion? Version:s APIVersion=ApiVersion:s MinAPIVersion:s? GitCommit:s GoVersion:s Os:s Arch:s KernelVersion:s? Experimental:b? BuildTime:s?
types.Platform Name:s
types.ComponentVersion Name:s Version:s Details:m?
events.Message Status=status:s? ID=id:s? From=from:s? Type:s Action:s Actor:events.Actor Scope=scope:s? Time=time:i? TimeNano=timeNano:i?
events.Actor ID:s Attributes:m
";

/// A Go struct.
#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub json: &'static str,
    pub omit: Omit,
    wrap: Wrap,
    of: &'static str,
}

/// When JSON leaves the field out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omit {
    Never,
    /// A pointer that is nil.
    Nil,
    /// The zero value.
    Empty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    Value,
    Pointer,
    List,
    Map,
}

fn shapes() -> &'static BTreeMap<&'static str, Shape> {
    static SHAPES: OnceLock<BTreeMap<&'static str, Shape>> = OnceLock::new();
    SHAPES.get_or_init(|| {
        let mut shapes = BTreeMap::new();
        for line in TYPES.lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            shapes.insert(name, Shape { name, fields: words.filter_map(field).collect() });
        }
        shapes
    })
}

fn field(word: &'static str) -> Option<Field> {
    let (names, rest) = word.split_once(':')?;
    let (name, json) = names.split_once('=').unwrap_or((names, names));
    let (rest, omits) = rest.strip_suffix('?').map_or((rest, false), |rest| (rest, true));
    let (wrap, of) = if let Some(of) = rest.strip_prefix('*') {
        (Wrap::Pointer, of)
    } else if let Some(of) = rest.strip_prefix("[]") {
        (Wrap::List, of)
    } else if let Some(of) = rest.strip_prefix("{}") {
        (Wrap::Map, of)
    } else {
        (Wrap::Value, rest)
    };
    let omit = match (omits, wrap) {
        (false, _) => Omit::Never,
        (true, Wrap::Pointer) => Omit::Nil,
        (true, _) => Omit::Empty,
    };
    Some(Field { name, json, omit, wrap, of })
}

/// Gives `value` the Go type `name`; a type that the table does not know leaves it as it is.
pub fn typed(name: &str, value: &Val) -> Val {
    let Some(shape) = shapes().get(name) else { return value.clone() };
    let fields = shape.fields.iter().map(|field| (field.name.to_owned(), of_field(field, find(value, field.json)))).collect();
    Val::object(Kind::Struct(shape), fields)
}

/// Go matches JSON keys without regard to case.
fn find<'a>(value: &'a Val, key: &str) -> Option<&'a Val> {
    let Val::Object(object) = value else { return None };
    object.get(key).or_else(|| object.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

fn of_field(field: &Field, value: Option<&Val>) -> Val {
    let value = value.filter(|value| **value != Val::Nil);
    match (field.wrap, value) {
        (Wrap::Value, value) => scalar(field.of, value),
        (_, None) => Val::Nil,
        (Wrap::Pointer, value) => scalar(field.of, value),
        (Wrap::List, Some(Val::List(items))) => Val::list(items.iter().map(|item| scalar(field.of, Some(item))).collect()),
        (Wrap::Map, Some(value)) | (Wrap::List, Some(value)) => value.clone(),
    }
}

fn scalar(of: &str, value: Option<&Val>) -> Val {
    match (of, value) {
        ("s", None) => Val::text(""),
        ("i", None) => Val::Int(0),
        ("f", None) => Val::Float(0.0),
        ("b", None) => Val::Bool(false),
        ("d", None) => Val::Duration(0),
        ("t", None) => Val::Time("0001-01-01T00:00:00Z".into()),
        ("m", None) => Val::object(Kind::NilMap, Vec::new()),
        ("y" | "a", None) => Val::Nil,
        ("d", Some(Val::Int(nanos))) => Val::Duration(*nanos),
        ("t", Some(Val::Text(text))) => Val::Time(text.clone()),
        ("s" | "i" | "f" | "b" | "d" | "t" | "m" | "y" | "a", Some(value)) => value.clone(),
        (of, value) => typed(of, value.unwrap_or(&Val::Nil)),
    }
}

/// Whether JSON leaves this field out.
pub fn is_omitted(field: &Field, value: &Val) -> bool {
    match field.omit {
        Omit::Never => false,
        Omit::Nil => *value == Val::Nil,
        Omit::Empty => !matches!(value, Val::Object(object) if matches!(object.kind, Kind::Struct(_))) && !value.is_true(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::template::compact;

    #[test]
    fn every_type_that_is_named_exists() {
        for shape in shapes().values() {
            for field in &shape.fields {
                let simple = ["s", "i", "f", "b", "d", "t", "m", "y", "a"].contains(&field.of);
                assert!(simple || shapes().contains_key(field.of), "{}.{}: {}", shape.name, field.name, field.of);
            }
        }
    }

    #[test]
    fn order_and_zero_values_are_go_s() {
        let value: Val =
            serde_json::from_str(r#"{"Spec":{"Mode":{"Replicated":{"Replicas":0}},"Name":"web","Unknown":1},"ID":"x","Version":{"Index":3}}"#).unwrap();
        assert_eq!(
            compact(&typed("swarm.Service", &value), true),
            "{\"ID\":\"x\",\"Version\":{\"Index\":3},\"CreatedAt\":\"0001-01-01T00:00:00Z\",\"UpdatedAt\":\"0001-01-01T00:00:00Z\",\
             \"Spec\":{\"Name\":\"web\",\"Labels\":null,\"TaskTemplate\":{\"ForceUpdate\":0},\"Mode\":{\"Replicated\":{\"Replicas\":0}}},\
             \"Endpoint\":{\"Spec\":{}}}"
        );
    }
}
