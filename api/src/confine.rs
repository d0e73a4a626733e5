//! What surrounds a container's process beside its program: capabilities, privileges, kernel parameters, limits, names of hosts and name servers.
//!
//! Owns: the shapes, and the checks with Docker's words, so that a wrong value is refused when a service is made and not on some node later.
//! Pure. Never: knows what a machine can do (a node says that when it prepares a task).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// As part of a container's spec; the default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Lines of `/etc/hosts`: an address, then names.
    pub hosts: Vec<String>,
    pub dns: Dns,
    pub sysctls: BTreeMap<String, String>,
    /// `CAP_X` or `ALL`.
    pub capability_add: Vec<String>,
    pub capability_drop: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    pub oom_score_adj: i64,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// The node's profile of AppArmor is not wanted.
    pub apparmor_disabled: bool,
}

/// Lines of `/etc/resolv.conf`, instead of the node's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    pub nameservers: Vec<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// One of `setrlimit`'s; -1 is without limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

/// Which system calls are let through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's list.
    #[default]
    Default,
    Unconfined,
    /// A profile in Docker's format (JSON).
    Custom(String),
}

pub const ALL: &str = "ALL";
/// Linux's, by their numbers.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];
const ULIMITS: [&str; 15] =
    ["core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"];
/// Kernel parameters that belong to a container's own namespaces.
const SYSCTLS: [&str; 8] =
    ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"];
const SYSCTL_SPACES: [&str; 2] = ["net.", "fs.mqueue."];
/// Entries of one list: `/etc/hosts` of a large cluster has some hundreds.
const MAX_ENTRIES: usize = 1_024;
/// Docker's own profile has 12 KiB.
const MAX_PROFILE: usize = 256 << 10;
/// The kernel's range.
const OOM_SCORE: std::ops::RangeInclusive<i64> = -1_000..=1_000;

/// A capability in its one spelling: `net_admin` is `CAP_NET_ADMIN`.
pub fn capability(name: &str) -> Result<String> {
    let upper = name.to_uppercase();
    let full = if upper == ALL || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    let known = full == ALL || CAPABILITIES.contains(&full.as_str());
    if known { Ok(full) } else { Err(Error::invalid(format!("unknown capability: {full:?}"))) }
}

impl Confinement {
    /// Says which field is wrong, and how.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, why: String| Err(Error::invalid(format!("ContainerSpec.{field}: {why}")));
        let lists = [
            ("Hosts", self.hosts.len()),
            ("DNSConfig.Nameservers", self.dns.nameservers.len()),
            ("DNSConfig.Search", self.dns.search.len()),
            ("DNSConfig.Options", self.dns.options.len()),
            ("Sysctls", self.sysctls.len()),
            ("Ulimits", self.ulimits.len()),
        ];
        if let Some((field, count)) = lists.iter().find(|(_, count)| *count > MAX_ENTRIES) {
            return wrong(field, format!("{count} entries; at most {MAX_ENTRIES} are taken"));
        }
        for (field, names) in [("CapabilityAdd", &self.capability_add), ("CapabilityDrop", &self.capability_drop)] {
            if let Some(error) = names.iter().find_map(|name| capability(name).err()) {
                return wrong(field, error.message);
            }
        }
        for line in &self.hosts {
            let mut words = line.split_whitespace();
            if words.next().is_none_or(|address| address.parse::<IpAddr>().is_err()) || words.next().is_none() || line.contains(['\n', '\r', '#']) {
                return wrong("Hosts", format!("{line:?}: an entry is an IP address, then names"));
            }
        }
        if let Some(address) = self.dns.nameservers.iter().find(|address| address.parse::<IpAddr>().is_err()) {
            return wrong("DNSConfig.Nameservers", format!("{address} is not an ip address"));
        }
        for (field, words) in [("DNSConfig.Search", &self.dns.search), ("DNSConfig.Options", &self.dns.options)] {
            if let Some(word) = words.iter().find(|word| word.is_empty() || word.contains(char::is_whitespace)) {
                return wrong(field, format!("{word:?} is not one word"));
            }
        }
        for (name, value) in &self.sysctls {
            let known = SYSCTLS.contains(&name.as_str()) || SYSCTL_SPACES.iter().any(|space| name.starts_with(space) && name.len() > space.len());
            if !known || name.contains(['/', '\0']) || value.contains(['\n', '\0']) {
                return wrong("Sysctls", format!("sysctl '{name}={value}' is not allowed"));
            }
        }
        if let Err(error) = self.ulimits.iter().try_for_each(Ulimit::check) {
            return wrong("Ulimits", error.message);
        }
        if !OOM_SCORE.contains(&self.oom_score_adj) {
            return wrong("OomScoreAdj", format!("invalid value {}, range for oom score adj is [-1000, 1000]", self.oom_score_adj));
        }
        match &self.seccomp {
            Seccomp::Custom(profile) if profile.len() > MAX_PROFILE => {
                wrong("Privileges.Seccomp.Profile", format!("{} bytes; at most {MAX_PROFILE} are taken", profile.len()))
            }
            _ => Ok(()),
        }
    }

    /// The names of the fields that say something which only a container can have; a Wasm task runs without all of these, and has no privilege to lose.
    pub fn for_containers_only(&self) -> Vec<&'static str> {
        [
            ("Hosts", !self.hosts.is_empty()),
            ("DNSConfig", self.dns != Dns::default()),
            ("Sysctls", !self.sysctls.is_empty()),
            ("CapabilityAdd", !self.capability_add.is_empty()),
            ("Ulimits", !self.ulimits.is_empty()),
            ("OomScoreAdj", self.oom_score_adj != 0),
            ("Privileges.Seccomp", self.seccomp != Seccomp::Default),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }
}

impl Ulimit {
    fn check(&self) -> Result<()> {
        let Self { name, soft, hard } = self;
        if !ULIMITS.contains(&name.as_str()) {
            return Err(Error::invalid(format!("invalid ulimit type: {name}")));
        }
        if *soft < -1 || *hard < -1 {
            return Err(Error::invalid(format!("{name}: a limit is a number, or -1 for none")));
        }
        if *hard != -1 && (*soft == -1 || soft > hard) {
            return Err(Error::invalid(format!("{name}: ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_one_spelling() {
        assert_eq!(capability("net_admin").unwrap(), "CAP_NET_ADMIN");
        assert_eq!((capability("all").unwrap().as_str(), capability("CAP_CHOWN").unwrap().as_str()), ("ALL", "CAP_CHOWN"));
        assert_eq!(capability("fly").unwrap_err().message, "unknown capability: \"CAP_FLY\"");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let says = |change: &dyn Fn(&mut Confinement)| {
            let mut spec = Confinement::default();
            change(&mut spec);
            spec.check().map_err(|error| error.message).unwrap_err()
        };
        let ulimit = |name: &str, soft, hard| vec![Ulimit { name: name.into(), soft, hard }];
        assert_eq!(says(&|spec| spec.hosts = vec!["nope web".into()]), "ContainerSpec.Hosts: \"nope web\": an entry is an IP address, then names");
        assert!(says(&|spec| spec.hosts = vec!["1.1.1.1".into()]).starts_with("ContainerSpec.Hosts"));
        assert_eq!(says(&|spec| spec.dns.nameservers = vec!["x".into()]), "ContainerSpec.DNSConfig.Nameservers: x is not an ip address");
        assert!(says(&|spec| spec.dns.search = vec!["a b".into()]).contains("is not one word"));
        assert_eq!(says(&|spec| spec.sysctls = [("kernel.panic".into(), "1".into())].into()), "ContainerSpec.Sysctls: sysctl 'kernel.panic=1' is not allowed");
        assert!(says(&|spec| spec.sysctls = [("net./../kernel".into(), "1".into())].into()).contains("is not allowed"));
        assert_eq!(says(&|spec| spec.ulimits = ulimit("files", 1, 1)), "ContainerSpec.Ulimits: invalid ulimit type: files");
        assert!(says(&|spec| spec.ulimits = ulimit("nofile", 2, 1)).contains("soft limit must be less than or equal to hard limit: 2 > 1"));
        assert!(says(&|spec| spec.ulimits = ulimit("nofile", -1, 1)).contains("-1 > 1"));
        assert!(says(&|spec| spec.oom_score_adj = 1_001).contains("invalid value 1001"));
        assert!(says(&|spec| spec.capability_add = vec!["x".into()]).starts_with("ContainerSpec.CapabilityAdd: unknown capability"));
        assert!(says(&|spec| spec.seccomp = Seccomp::Custom("x".repeat(MAX_PROFILE + 1))).contains("Seccomp.Profile"));
        let mut fine = Confinement { ulimits: ulimit("nofile", 5, -1), oom_score_adj: -5, ..Confinement::default() };
        fine.sysctls.insert("net.core.somaxconn".into(), "100".into());
        fine.check().unwrap();
        assert_eq!(fine.for_containers_only(), ["Sysctls", "Ulimits", "OomScoreAdj"]);
    }
}
