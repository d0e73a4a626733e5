//! From an image and a task's spec to the OCI runtime spec, as Docker makes it.
//!
//! Owns: devices, masked and read-only paths, namespaces, limits, entry point and environment. Pure: what was
//! looked up (user, mounts, folders) comes in.

use super::users::User;
use super::{confine, seccomp};
use crate::error::{Error, Result};
use crate::executor::TaskRequest;
use crate::images::Image;
use crate::spec::{args, cwd, hostname, merged};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use wsw_api::generic;

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const SEARCH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Docker's period of a CPU limit, in microseconds.
const CPU_PERIOD: u64 = 100_000;
const WHOLE_CPU: u128 = 1_000_000_000;

/// What was looked up for a container.
pub(super) struct Found<'a> {
    pub user: User,
    pub root: PathBuf,
    /// Binds, volumes, tmpfs.
    pub mounts: Vec<Value>,
    /// Folder of `hosts`, `hostname` and `resolv.conf`.
    pub files: &'a Path,
    pub netns: Option<PathBuf>,
    /// The node's program for `--init`, when it is asked for.
    pub init: Option<PathBuf>,
    pub cgroup: String,
    pub cgroup2: bool,
    pub kernel: &'a str,
    /// The node's profile of AppArmor.
    pub apparmor: Option<&'a str>,
}

/// What is run; an image may name nothing.
fn command(request: &TaskRequest, image: &Image) -> Result<Vec<String>> {
    let words = args(&request.spec.container, image);
    // moby's words.
    if words.is_empty() { Err(Error::Invalid("no command specified".into())) } else { Ok(words) }
}

fn env(request: &TaskRequest, image: &Image, hostname: &str) -> Vec<String> {
    let container = &request.spec.container;
    let mut first = vec![SEARCH.to_owned(), format!("HOSTNAME={hostname}")];
    if container.tty {
        first.push("TERM=xterm".into());
    }
    merged(first.iter().chain(&image.env).chain(&container.env).chain(&generic::environment(&request.generic)))
}

/// The bundle's `config.json`.
pub(super) fn runtime_spec(request: &TaskRequest, image: &Image, found: Found<'_>) -> Result<Value> {
    let container = &request.spec.container;
    let name = hostname(request);
    let asked = &container.confinement;
    let names = confine::names(asked);
    let mut words = command(request, image)?;
    if found.init.is_some() {
        words.splice(0..0, [confine::INIT.to_owned(), "--".into()]);
    }
    let mut process = json!({
        "terminal": container.tty,
        "user": {"uid": found.user.uid, "gid": found.user.gid, "additionalGids": found.user.groups},
        "args": words,
        "env": env(request, image, &name),
        "cwd": cwd(container, image),
        "capabilities": confine::capabilities(&names, found.user.uid),
        "oomScoreAdj": asked.oom_score_adj,
        "noNewPrivileges": asked.no_new_privileges,
        "rlimits": confine::rlimits(&asked.ulimits),
    });
    if let Some(profile) = found.apparmor.filter(|_| !asked.apparmor_disabled) {
        process["apparmorProfile"] = profile.into();
    }
    let mut namespaces = vec![json!({"type": "pid"}), json!({"type": "ipc"}), json!({"type": "uts"}), json!({"type": "mount"})];
    namespaces.push(match &found.netns {
        Some(path) => json!({"type": "network", "path": path}),
        None => json!({"type": "network"}),
    });
    if found.cgroup2 {
        namespaces.push(json!({"type": "cgroup"}));
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": found.cgroup,
        "resources": resources(request)?,
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
        "sysctl": confine::sysctls(asked),
    });
    if let Some(profile) = seccomp::profile(&asked.seccomp, &names, found.kernel)? {
        linux["seccomp"] = profile;
    }
    let mut mounts = default_mounts(found.files);
    if let Some(init) = &found.init {
        mounts.push(json!({"destination": confine::INIT, "type": "bind", "source": init, "options": ["bind", "ro", "rprivate"]}));
    }
    mounts.retain(|mount| !found.mounts.iter().any(|own| own["destination"] == mount["destination"]));
    mounts.extend(found.mounts);
    // A mount lies on what its parents show.
    mounts.sort_by_key(|mount| mount["destination"].as_str().map_or(0, |target| target.trim_end_matches('/').matches('/').count()));
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": found.root, "readonly": container.read_only},
        "hostname": name,
        "mounts": mounts,
        "linux": linux,
    }))
}

fn default_mounts(files: &Path) -> Vec<Value> {
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
    ];
    for name in ["hosts", "hostname", "resolv.conf"] {
        all.push(json!({"destination": format!("/etc/{name}"), "type": "bind", "source": files.join(name), "options": ["rbind", "rprivate"]}));
    }
    all
}

fn resources(request: &TaskRequest) -> Result<Value> {
    let limits = &request.spec.resources.limits;
    let device = |kind: &str, major: Option<u32>, minor: Option<u32>, access: &str| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    let mut devices = vec![json!({"allow": false, "access": "rwm"}), device("c", None, None, "m"), device("b", None, None, "m")];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        devices.push(device("c", Some(major), Some(minor), "rwm"));
    }
    devices.push(device("c", Some(136), None, "rwm"));
    let mut resources = json!({"devices": devices});
    let whole = |what: &str, value: u128| i64::try_from(value).map_err(|_| Error::Invalid(format!("{what} limit: {value} is too large")));
    if limits.memory_bytes > 0 {
        resources["memory"] = json!({"limit": whole("memory", limits.memory_bytes.into())?});
    }
    if limits.nano_cpus > 0 {
        let quota = (u128::from(limits.nano_cpus) * u128::from(CPU_PERIOD) / WHOLE_CPU).max(1_000);
        resources["cpu"] = json!({"quota": whole("CPU", quota)?, "period": CPU_PERIOD});
    }
    if limits.pids > 0 {
        resources["pids"] = json!({"limit": whole("pids", limits.pids.into())?});
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::request;
    use wsw_api::spec::ContainerSpec;

    fn made(container: ContainerSpec, image: &Image) -> Result<Value> {
        let found = Found {
            user: User::default(),
            root: "rootfs".into(),
            mounts: vec![json!({"destination": "/dev/shm", "type": "tmpfs"})],
            files: Path::new("/b"),
            netns: Some("/n/1".into()),
            init: Some("/usr/bin/tini-static".into()),
            cgroup: "/wsw/x/1".into(),
            cgroup2: false,
            kernel: "6.1",
            apparmor: Some("wsw-default"),
        };
        runtime_spec(&request(container), image, found)
    }

    #[test]
    fn a_container_looks_as_docker_makes_it() {
        let image = Image { cmd: vec!["sh".into()], env: vec!["PATH=/bin".into()], ..Image::default() };
        let container =
            ContainerSpec { hostname: "{{.Service.Name}}-{{.Task.Slot}}".into(), env: vec!["NODE={{.Node.Hostname}}".into()], ..ContainerSpec::default() };
        let container = crate::spec::expanded(&request(container)).unwrap().spec.container.clone();
        let spec = made(container, &image).unwrap();
        assert_eq!((spec["hostname"].as_str(), &spec["process"]["args"]), (Some("web-3"), &json!([confine::INIT, "--", "sh"])));
        let env = spec["process"]["env"].as_array().unwrap();
        assert!(env.contains(&json!("PATH=/bin")) && env.contains(&json!("NODE=host")) && env.contains(&json!("HOSTNAME=web-3")), "{env:?}");
        assert_eq!(spec["process"]["capabilities"]["effective"].as_array().unwrap().len(), 14);
        assert_eq!(spec["linux"]["namespaces"][4], json!({"type": "network", "path": "/n/1"}));
        let shm = spec["mounts"].as_array().unwrap().iter().filter(|mount| mount["destination"] == "/dev/shm").count();
        assert_eq!(shm, 1, "a mount of the user's replaces ours");
        assert_eq!(spec["process"]["apparmorProfile"], "wsw-default");
        let seccomp = &spec["linux"]["seccomp"]["syscalls"];
        assert!(seccomp.as_array().is_some_and(|rules| rules.len() > 5));
    }

    #[test]
    fn a_container_may_do_without_apparmor() {
        let confinement = wsw_api::confine::Confinement { apparmor_disabled: true, ..Default::default() };
        let container = ContainerSpec { args: vec!["true".into()], confinement, ..ContainerSpec::default() };
        assert_eq!(made(container, &Image::default()).unwrap()["process"].get("apparmorProfile"), None);
    }

    #[test]
    fn an_image_that_says_nothing_needs_a_command() {
        assert_eq!(made(ContainerSpec::default(), &Image::default()).unwrap_err().to_string(), "no command specified");
        let container = ContainerSpec { args: vec!["true".into()], hostname: String::new(), ..ContainerSpec::default() };
        let spec = made(container, &Image::default()).unwrap();
        assert_eq!(spec["hostname"].as_str().unwrap().len(), 12);
    }
}
