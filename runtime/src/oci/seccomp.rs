//! The system calls that a container may make.
//!
//! Owns: the reading of a profile in Docker's format (`seccomp.json` beside this file is ours): groups of names that hold always, or only with certain capabilities, processors or
//! kernels. Pure.

use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use wsw_api::confine::Seccomp;

const DEFAULT: &str = include_str!("seccomp.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    args: Vec<Value>,
    #[serde(rename = "errnoRet", default)]
    errno: Option<u32>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    #[serde(rename = "minKernel")]
    min_kernel: Option<String>,
}

/// The profile for a process with these capabilities, on this machine; none when all calls are let through.
pub(super) fn profile(asked: &Seccomp, capabilities: &[&str], kernel: &str) -> Result<Option<Value>> {
    let text = match asked {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => DEFAULT,
        Seccomp::Custom(text) => text,
    };
    // Ours is read by a test.
    let wrong = |error: serde_json::Error| Error::Invalid(format!("ContainerSpec.Privileges.Seccomp.Profile: decoding seccomp profile failed: {error}"));
    let profile: Profile = serde_json::from_str(text).map_err(wrong)?;
    let (architecture, sub) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        "aarch64" => ("arm64", vec!["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        "arm" => ("arm", vec!["SCMP_ARCH_ARM"]),
        "s390x" => ("s390x", vec!["SCMP_ARCH_S390X", "SCMP_ARCH_S390"]),
        other => (other, Vec::new()),
    };
    let syscalls = profile.syscalls.iter().filter(|rule| holds(rule, capabilities, architecture, kernel)).map(|rule| {
        let mut out = json!({"names": rule.names, "action": rule.action});
        if !rule.args.is_empty() {
            out["args"] = json!(rule.args);
        }
        if let Some(errno) = rule.errno {
            out["errnoRet"] = json!(errno);
        }
        out
    });
    let mut out = json!({"defaultAction": profile.default_action, "architectures": sub, "syscalls": syscalls.collect::<Vec<_>>()});
    if let Some(errno) = profile.default_errno_ret {
        out["defaultErrnoRet"] = json!(errno);
    }
    Ok(Some(out))
}

fn holds(rule: &Rule, capabilities: &[&str], architecture: &str, kernel: &str) -> bool {
    let has = |wanted: &String| capabilities.contains(&wanted.as_str());
    let included = rule.includes.caps.iter().all(has)
        && (rule.includes.arches.is_empty() || rule.includes.arches.iter().any(|arch| arch == architecture))
        && rule.includes.min_kernel.as_ref().is_none_or(|least| version(kernel) >= version(least));
    let excluded = rule.excludes.caps.iter().any(has) || rule.excludes.arches.iter().any(|arch| arch == architecture);
    included && !excluded
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(capabilities: &[&str], kernel: &str) -> Vec<String> {
        let profile = profile(&Seccomp::Default, capabilities, kernel).unwrap().unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let rules = profile["syscalls"].as_array().unwrap().iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule.get("args").is_none());
        rules.flat_map(|rule| rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_service_may_bring_its_own() {
        let custom = Seccomp::Custom(r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#.into());
        let own = profile(&custom, &[], "6.1").unwrap().unwrap();
        assert_eq!((&own["defaultAction"], &own["syscalls"][0]["names"], own.get("defaultErrnoRet")), (&json!("SCMP_ACT_ALLOW"), &json!(["mkdir"]), None));
        assert!(profile(&Seccomp::Unconfined, &[], "6.1").unwrap().is_none());
        assert!(profile(&Seccomp::Custom("{}".into()), &[], "6.1").unwrap_err().to_string().contains("decoding seccomp profile failed"));
    }

    #[test]
    fn dangerous_calls_come_with_their_capability_only() {
        let plain = allowed(&["CAP_CHOWN", "CAP_SYS_CHROOT"], "6.1.0");
        for name in ["read", "openat", "clone3_never", "futex", "execve", "chroot", "ptrace", "epoll_pwait2"] {
            assert_eq!(plain.contains(&name.to_owned()), name != "clone3_never", "{name}");
        }
        for name in [
            "mount",
            "bpf",
            "kexec_load",
            "init_module",
            "keyctl",
            "add_key",
            "unshare",
            "setns",
            "reboot",
            "perf_event_open",
            "open_by_handle_at",
            "io_uring_setup",
        ] {
            assert!(!plain.contains(&name.to_owned()), "{name}");
        }
        assert!(!allowed(&[], "4.4.0").contains(&"ptrace".to_owned()));
        let admin = allowed(&["CAP_SYS_ADMIN"], "6.1.0");
        assert!(admin.contains(&"mount".to_owned()) && !admin.contains(&"reboot".to_owned()));
    }
}
