//! Facts of the machine, read once: for `/info`, the node's description and the socket's owner.
//!
//! Owns: reading `/proc`, `/etc` and `uname`. Never: decides.

use anyhow::Result;
use rustix::fs::{Gid, Mode, chmod, chown};
use std::path::Path;
use wsw_api::Time;
use wsw_api::generic::GenericResource;
use wsw_api::object::NodeDescription;
use wsw_api::spec::{Platform, Resources};

/// Group whose members may use root's daemon (dockerd's is `docker`).
const SOCKET_GROUP: &str = "wsw";

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Host {
    pub hostname: String,
    pub operating_system: String,
    pub kernel_version: String,
    pub platform: Platform,
    pub cpus: u64,
    pub memory_bytes: u64,
    /// Tasks that it holds at most.
    pub tasks: u64,
    /// Of control groups, 1 or 2; none when none are mounted.
    pub cgroup_version: Option<u8>,
    /// What its operator says that it has beside CPUs and memory.
    pub generic: Vec<GenericResource>,
}

impl Host {
    /// Reads them.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let memory_bytes = memory();
        Self {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            operating_system: operating_system(),
            kernel_version: uname.release().to_string_lossy().into_owned(),
            platform: Platform { os: "linux".into(), architecture: go_architecture(std::env::consts::ARCH).into() },
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            memory_bytes,
            tasks: super::capacity::of_node(&super::capacity::Limits::read(), memory_bytes),
            cgroup_version: cgroup_version(Path::new("/sys/fs/cgroup")),
            generic: Vec::new(),
        }
    }

    /// The node's description before shims and ingress add to it.
    pub fn description(&self) -> NodeDescription {
        NodeDescription {
            hostname: self.hostname.clone(),
            platform: Platform { os: "linux".into(), architecture: std::env::consts::ARCH.into() },
            resources: Resources { nano_cpus: self.cpus * 1_000_000_000, memory_bytes: self.memory_bytes, pids: self.tasks },
            engine_version: env!("CARGO_PKG_VERSION").into(),
            generic: self.generic.clone(),
            ..NodeDescription::default()
        }
    }
}

/// Now, by the wall clock.
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Go's name of a processor, which Docker's API uses.
fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// The unified hierarchy alone is version 2; beside version 1 it has no controllers that matter.
fn cgroup_version(root: &Path) -> Option<u8> {
    if root.join("cgroup.controllers").is_file() {
        return Some(2);
    }
    root.join("memory").is_dir().then_some(1)
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or_else(|| "Linux".into(), |value| value.trim_matches('"').to_owned())
}

fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Processor time of the whole machine, idle time included: the first line of `/proc/stat`, in hundredths of a second.
pub fn machine_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // Guests' time (the last two) is part of the users' already; dockerd adds up the first eight, too.
    let ticks: u64 = first.split_whitespace().skip(1).take(8).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks.saturating_mul(10_000_000)
}

/// User and parent of a process.
pub fn process(pid: u32) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    Some((field("Uid:")?, field("PPid:")?))
}

/// Root's socket is for root and the group `wsw` (0660), a user's for the user alone.
pub fn restrict_socket(path: &Path) -> Result<()> {
    let group = rustix::process::geteuid().is_root().then(|| group_id(SOCKET_GROUP)).flatten();
    match group {
        Some(gid) => {
            chown(path, None, Some(Gid::from_raw(gid)))?;
            chmod(path, Mode::from_raw_mode(0o660))?;
        }
        None => chmod(path, Mode::from_raw_mode(0o600))?,
    }
    Ok(())
}

fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}
