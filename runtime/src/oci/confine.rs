//! A container's capabilities, limits, kernel parameters and first process, from what its service asks for.
//!
//! Owns: Docker's rules: adding over dropping, the defaults of each, where its init is found. Pure but for looking at this process and the node's programs.

use super::tools;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use wsw_api::confine::{ALL, CAPABILITIES, Confinement, Ulimit};

/// Docker's default.
pub(super) const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
/// Where a container finds its init.
pub(super) const INIT: &str = "/sbin/docker-init";
/// Programs that do what Docker's does: static ones, since an image need not have a library.
const INITS: [&str; 3] = ["docker-init", "tini-static", "catatonit"];

/// What this process may give away; all when it cannot be read.
fn own() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok()).unwrap_or(u64::MAX);
    CAPABILITIES.iter().enumerate().filter(|(number, _)| bounding >> number & 1 == 1).map(|(_, name)| *name).collect()
}

/// The names that a container has (moby's `TweakCapabilities`).
pub(super) fn names(asked: &Confinement) -> Vec<&str> {
    of(asked, &own())
}

fn of<'a>(asked: &'a Confinement, all: &[&'a str]) -> Vec<&'a str> {
    let has = |list: &[String], name: &str| list.iter().any(|known| known == name);
    let (add, drop) = (&asked.capability_add, &asked.capability_drop);
    let added = add.iter().map(String::as_str).filter(|name| *name != ALL);
    let mut names: Vec<&str> = if has(add, ALL) {
        all.iter().copied().filter(|name| !has(drop, name)).collect()
    } else if has(drop, ALL) {
        added.collect()
    } else {
        DEFAULT.into_iter().filter(|name| !has(drop, name)).chain(added).collect()
    };
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    names
}

/// Another user than root gets none but may have them by a program's file: bounding set only.
pub(super) fn capabilities(names: &[&str], uid: u32) -> Value {
    if uid == 0 { json!({"bounding": names, "effective": names, "permitted": names}) } else { json!({"bounding": names}) }
}

/// Limits of each process.
pub(super) fn rlimits(ulimits: &[Ulimit]) -> Value {
    // -1, all bits set, is the kernel's "no limit".
    let number = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    ulimits
        .iter()
        .map(|limit| json!({"type": format!("RLIMIT_{}", limit.name.to_uppercase()), "hard": number(limit.hard), "soft": number(limit.soft)}))
        .collect()
}

/// Docker's defaults, so that a container without capabilities serves port 80; a service's own come over them.
pub(super) fn sysctls(asked: &Confinement) -> Value {
    let mut all = json!({"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"});
    for (name, value) in &asked.sysctls {
        all[name] = json!(value);
    }
    all
}

/// The node's program for `--init`.
pub(super) fn init(path: &str) -> Result<PathBuf> {
    INITS.iter().find_map(|name| tools::find(path, name)).ok_or_else(|| {
        Error::Unsupported(format!("ContainerSpec.Init: none of {} is on this node (Debian: package tini); install one, or leave out --init", INITS.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_added_and_dropped_as_docker_does() {
        let of = |add: &[&str], drop: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let asked = Confinement { capability_add: list(add), capability_drop: list(drop), ..Confinement::default() };
            super::of(&asked, &CAPABILITIES).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of(&[], &[]), DEFAULT);
        assert_eq!(of(&["CAP_CHOWN"], &["ALL"]), ["CAP_CHOWN"]);
        assert!(of(&[], &["ALL"]).is_empty());
        assert_eq!(of(&["ALL"], &["CAP_SYS_ADMIN"]).len(), CAPABILITIES.len() - 1);
        assert_eq!(of(&["CAP_NET_ADMIN", "CAP_KILL"], &["CAP_CHOWN"]).len(), DEFAULT.len());
    }

    #[test]
    fn limits_have_the_kernels_names() {
        let limits = rlimits(&[Ulimit { name: "nofile".into(), soft: 5, hard: -1 }]);
        assert_eq!(limits, json!([{"type": "RLIMIT_NOFILE", "hard": u64::MAX, "soft": 5}]));
    }
}
