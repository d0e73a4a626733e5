//! What runs containers: crun or runc beneath the shim, further shims by name, and what a node says when none of it works.

use crate::harness::containers::{INFINITE, contained, infinite, shims_of, wait_gone};
use crate::harness::{self, Node, Setup, until};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";
/// crun takes no machine with control groups of both versions; where there are both it sees the older ones only. The mounts of everything else stay shared.
const CRUN: &str = r#"exec unshare --mount --propagation unchanged sh -c '
if [ -d /sys/fs/cgroup/unified ]; then mount --make-rprivate /sys/fs/cgroup && umount /sys/fs/cgroup/unified; fi
exec /usr/bin/crun "$@"' sh "$@""#;

fn program(folder: &Path, name: &str, text: &str) {
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("the folder is ours");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("the file is ours");
}

/// A node that finds these programs first.
fn node_with(programs: &[(&str, &str)], flags: &[&str]) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    for (name, text) in programs {
        program(folder.path(), name, text);
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let node = Node::start_with(Setup { env: vec![("PATH".into(), path)], flags, ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    (node, folder)
}

#[test]
fn containers_run_on_crun_where_it_is_the_one_that_works() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (mut node, _programs) = node_with(&[("crun", CRUN), ("runc", "echo this one is broken >&2; exit 1")], &[]);
    let shown = node.wsw(&["node", "inspect", "self", "--pretty"]).ok();
    assert!(shown.contains("wsw.containers=io.containerd.runc.v2 with crun"), "{shown}");
    node.wsw(&["service", "create", "--name", "box", "--replicas", "5", "--restart-delay", "0s", "eon01/infinite"]).ok();
    let before = node.running("box");
    assert_eq!((before.len(), contained(node.data_root()).len()), (5, 5));
    node.kill();
    node.restart();
    until("the same five", || if node.running("box") == before { Ok(()) } else { Err(format!("{:?}", node.running("box"))) });
    let (victim, pid) = before.iter().next().expect("there are five");
    harness::kill(*pid as i32, rustix::process::Signal::KILL);
    until("another in its place", || {
        let now = node.running("box");
        if now.len() == 5 && !now.contains_key(victim) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    for (service, arguments, code) in [("nosuch", &["nosuch"][..], 127), ("text", &["/etc/passwd"], 126), ("three", &["sh", "-c", "exit 3"], 3)] {
        node.wsw(&[&["service", "create", "-d", "--restart-condition", "none", "--name", service, INFINITE], arguments].concat()).ok();
        let task = node.wait_task(service, "failed");
        assert_eq!(task["Status"]["ContainerStatus"]["ExitCode"], code, "{task}");
    }
    node.wsw(&["service", "rm", "box", "nosuch", "text", "three"]).ok();
    wait_gone(&node);
}

/// Which versions of the Task API the shims of a node speak.
fn versions(node: &Node) -> BTreeSet<u64> {
    let folders = std::fs::read_dir(node.folder().join("e/oci/g")).into_iter().flatten().flatten();
    let notes = folders.filter_map(|folder| std::fs::read(folder.path().join("shim.json")).ok());
    notes.filter_map(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok()?["api"].as_u64()).collect()
}

#[test]
fn the_articles_walk_on_a_shim_that_speaks_version_3() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let newer = harness::newer_shim();
    let (mut node, _programs) = node_with(&[("containerd-shim-runc-v2", &format!("exec {} \"$@\"", newer.display()))], &[]);
    node.wsw(&["service", "create", "--name", "infinite_service", "--restart-delay", "10ms", "eon01/infinite"]).ok();
    assert_eq!(versions(&node), BTreeSet::from([3]));
    node.wsw(&["service", "scale", "infinite_service=2"]).ok();
    node.wsw(&["service", "scale", "infinite_service=20"]).ok();
    let before = node.running("infinite_service");
    assert_eq!((before.len(), contained(node.data_root()).len()), (20, 20));
    // Looked into, one killed, the daemon killed: as with the older one.
    let name = node.wsw(&["ps", "--format", "{{.Names}}"]).ok().lines().next().expect("there are twenty").to_owned();
    assert_eq!(node.wsw(&["exec", &name, "hostname"]).ok().trim().len(), 12);
    assert_eq!(node.wsw(&["exec", &name, "sh", "-c", "exit 9"]).code, 9);
    assert!(node.wsw(&["top", &name]).ok().contains("tail -f /dev/null"));
    let stats = node.wsw(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", &name]).ok();
    assert!(stats.contains("iB / ") && stats.trim().ends_with(" 1"), "{stats}");
    let (victim, pid) = before.iter().next().expect("there are twenty");
    harness::kill(*pid as i32, rustix::process::Signal::KILL);
    let dead = node.wait_task("infinite_service", "failed");
    assert_eq!((&dead["ID"], &dead["Status"]["Err"]), (&serde_json::json!(victim), &serde_json::json!("task: non-zero exit (137)")));
    let after = node.wait_running("infinite_service", 20);
    assert_eq!(after.keys().filter(|task| before.contains_key(*task)).count(), 19);
    node.kill();
    node.restart();
    until("the same twenty", || if node.running("infinite_service") == after { Ok(()) } else { Err(format!("{:?}", node.running("infinite_service"))) });
    for (service, arguments, code) in [("nosuch", &["nosuch"][..], 127), ("text", &["/etc/passwd"], 126), ("three", &["sh", "-c", "exit 3"], 3)] {
        node.wsw(&[&["service", "create", "-d", "--restart-condition", "none", "--name", service, INFINITE], arguments].concat()).ok();
        let task = node.wait_task(service, "failed");
        assert_eq!(task["Status"]["ContainerStatus"]["ExitCode"], code, "{task}");
    }
    // One of each line, side by side.
    node.wsw(&["service", "create", "--name", "older", "--container-label", &format!("wsw.runtime={SHIM}"), "eon01/infinite"]).ok();
    assert_eq!(versions(&node), BTreeSet::from([2, 3]));
    // With a shim its tasks go, and no others.
    let shims = shims_of(&node, "infinite_service");
    assert_eq!(shims.len(), 2, "sixteen tasks each");
    harness::kill(shims[1], rustix::process::Signal::KILL);
    until("the tasks of one shim to be replaced", || {
        let now = node.running("infinite_service");
        let kept = after.keys().filter(|task| now.contains_key(*task)).count();
        if now.len() == 20 && kept < 20 { Ok(()) } else { Err(format!("{} run, {kept} as before", now.len())) }
    });
    node.wsw(&["service", "rm", "infinite_service", "older", "nosuch", "text", "three"]).ok();
    wait_gone(&node);
}

#[test]
fn a_node_says_what_is_wrong_with_its_runtimes_and_runs_wasm() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (node, _programs) = node_with(&[("crun", "echo not on this machine >&2; exit 1"), ("runc", "echo this one is broken >&2; exit 1")], &[]);
    let shown = node.wsw(&["node", "inspect", "self", "--pretty"]).ok();
    let why = shown.lines().find(|line| line.contains("wsw.containers=none: ")).unwrap_or_default();
    assert!(why.contains("fails: not on this machine; runc (") && why.contains("fails: this one is broken"), "{shown}");
    node.wsw(&["service", "create", "-d", "--name", "box", "eon01/infinite"]).ok();
    until("the scheduler's reason", || {
        let why = node.tasks("box").first().and_then(|task| task["Status"]["Err"].as_str().map(str::to_owned)).unwrap_or_default();
        if why.contains("unsupported platform on 1 node") { Ok(()) } else { Err(why) }
    });
    node.wsw(&["service", "create", "--name", "ticks", &harness::guest("tick").to_string_lossy()]).ok();
}

#[test]
fn further_shims_have_names() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let flag = format!("--add-runtime=other={SHIM}");
    let (node, _programs) = node_with(&[], &[&flag, "--add-runtime=gone=/no/such/shim"]);
    let names = node.json("/info")["Runtimes"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    assert_eq!(names, ["io.containerd.runc.v2", "io.wsw.wasm.v1", "other"]);
    let shown = node.wsw(&["info"]).ok();
    assert!(shown.contains(" Runtimes: io.containerd.runc.v2 io.wsw.wasm.v1 other"), "{shown}");
    for (service, runtime) in [("named", "other"), ("path", SHIM), ("usual", "io.containerd.runc.v2")] {
        node.wsw(&["service", "create", "--name", service, "--container-label", &format!("wsw.runtime={runtime}"), "eon01/infinite"]).ok();
        assert_eq!(node.running(service).len(), 1, "{service}");
    }
    node.wsw(&["service", "create", "-d", "--name", "lost", "--container-label", "wsw.runtime=gone", "eon01/infinite"]).ok();
    until("the scheduler's reason", || {
        let why = node.tasks("lost").first().and_then(|task| task["Status"]["Err"].as_str().map(str::to_owned)).unwrap_or_default();
        if why.contains("missing plugin on 1 node") { Ok(()) } else { Err(why) }
    });
    let tick = harness::guest("tick");
    let label = ["--container-label", "wsw.runtime=io.containerd.runc.v2"];
    node.wsw(&[&["service", "create", "-d", "--restart-condition", "none", "--name", "mixed"], &label[..], &[&tick.to_string_lossy()]].concat()).ok();
    let task = node.wait_task("mixed", "rejected");
    assert!(task["Status"]["Err"].as_str().is_some_and(|why| why.contains("runtime io.containerd.runc.v2 runs no Wasm images; use io.wsw.wasm.v1")), "{task}");
    node.wsw(&["service", "rm", "named", "path", "usual", "lost", "mixed"]).ok();
    wait_gone(&node);
}
