//! Containers that misbehave, and machines that do: signals ignored, processes without end, disks filled, ends again and again, a runtime that breaks. As root.

use crate::harness::containers::{INFINITE, contained, infinite, node_with_image, wait_gone};
use crate::harness::{Node, Setup, SmallDisk, guest, is_root, stays, until};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// What a node does not do is looked for this long.
const WHILE: Duration = Duration::from_secs(1);

fn code(task: &Value) -> Option<i64> {
    task["Status"]["ContainerStatus"]["ExitCode"].as_i64()
}

fn said(task: &Value) -> &str {
    task["Status"]["Err"].as_str().unwrap_or_default()
}

#[test]
fn a_container_that_ignores_its_signal_is_killed_after_the_grace_period() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    for (name, trap, ends) in [("deaf", "trap '' TERM", 137), ("polite", "trap 'exit 7' TERM", 7)] {
        let script = format!("{trap}; echo listens; while true; do sleep 0.05; done");
        let flags = ["--stop-signal", "TERM", "--stop-grace-period", "700ms", "--name", name, "eon01/infinite", "sh", "-c", &script];
        node.wsw(&[&["service", "create"], &flags[..]].concat()).ok();
        until("the trap to be set", || match node.wsw(&["service", "logs", "--raw", name]).ok() {
            logs if logs.contains("listens") => Ok(()),
            logs => Err(logs),
        });
        node.wsw(&["service", "update", "-d", "--force", name]).ok();
        let task = node.wait_task(name, "shutdown");
        assert_eq!(code(&task), Some(ends), "{name}: {task}");
        node.wait_running(name, 1);
    }
    node.wsw(&["service", "rm", "deaf", "polite"]).ok();
    wait_gone(&node);
}

#[test]
fn processes_without_end_end_at_their_limit() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    // The one that makes them fails; what it made stays.
    let script = "(while true; do sleep 1000 & done); echo full; exec sleep 1000";
    node.wsw(&["service", "create", "--name", "many", "--limit-pids", "20", "eon01/infinite", "sh", "-c", script]).ok();
    until("the limit to be reached", || match node.wsw(&["service", "logs", "--raw", "many"]) {
        logs if logs.err.contains("can't fork") && logs.out.contains("full") => Ok(()),
        logs => Err(logs.to_string()),
    });
    let before = node.running("many");
    stays("no more than its limit", WHILE, || match contained(node.data_root()).len() {
        count if (2..=20).contains(&count) => Ok(()),
        count => Err(format!("{count} processes")),
    });
    // Nothing else is short of processes.
    node.wsw(&["service", "create", "--name", "other", "--replicas", "3", "eon01/infinite"]).ok();
    assert_eq!(node.running("many"), before);
    node.wsw(&["service", "rm", "many", "other"]).ok();
    wait_gone(&node);
}

#[test]
fn one_that_ends_at_once_is_started_as_its_policy_says() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    let policy = ["--restart-condition", "any", "--restart-delay", "400ms", "--restart-max-attempts", "3"];
    node.wsw(&[&["service", "create", "-d", "--name", "brief"], &policy[..], &["eon01/infinite", "sh", "-c", "exit 3"]].concat()).ok();
    let all_failed = || {
        let tasks = node.tasks("brief");
        let failed = tasks.iter().filter(|task| task["Status"]["State"] == "failed" && code(task) == Some(3)).count();
        if (tasks.len(), failed) == (4, 4) { Ok(tasks) } else { Err(format!("{failed} of {} have failed", tasks.len())) }
    };
    let tasks = until("three further attempts", all_failed);
    stays("no fifth", WHILE, || all_failed().map(drop));
    let mut ends = tasks.iter().map(|task| task["Status"]["Timestamp"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    ends.sort();
    let at = |text: &str| time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("it is a time");
    for pair in ends.windows(2) {
        assert!(at(&pair[1]) - at(&pair[0]) >= Duration::from_millis(390), "the delay lies between two ends: {ends:?}");
    }
}

#[test]
fn a_full_disk_is_the_containers_own_affair() {
    let Some(disk) = SmallDisk::mount() else { return };
    let node = Node::start_with(Setup { data_root: Some(disk.path().join("d")), ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    node.wsw(&["service", "create", "--name", "other", "eon01/infinite"]).ok();
    let before = node.running("other");
    // It fills its root, which is the node's disk, and then a mount of its own.
    let script = "dd if=/dev/zero of=/big bs=65536 && exit 1; rm /big; dd if=/dev/zero of=/own/big bs=65536 && exit 2; test $(stat -c %s /own/big) = 1048576 || exit 3; exit 40";
    let own = ["--mount", "type=tmpfs,target=/own,tmpfs-size=1m", "--restart-condition", "none", "--name", "greedy"];
    node.wsw(&[&["service", "create", "-d"], &own[..], &["eon01/infinite", "sh", "-c", script]].concat()).ok();
    let task = node.wait_task("greedy", "failed");
    assert_eq!(code(&task), Some(40), "{task}");
    assert_eq!(node.running("other"), before);
    until("the node to take writes again", || match node.wsw(&["service", "scale", "-d", "other=3"]) {
        run if run.code == 0 => Ok(()),
        run => Err(run.to_string()),
    });
    node.wait_running("other", 3);
}

#[test]
fn an_image_that_does_not_fit_the_disk_is_told_and_nothing_of_it_stays() {
    let Some(disk) = SmallDisk::mount() else { return };
    let node = Node::start_with(Setup { data_root: Some(disk.path().join("d")), ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    // Room for the node's own records, and not for the layer.
    let filler = disk.fill();
    let length = std::fs::metadata(&filler).expect("it is ours").len();
    std::fs::OpenOptions::new().write(true).open(&filler).and_then(|file| file.set_len(length - (900 << 10))).expect("it is ours");
    node.wsw(&["service", "create", "-d", "--name", "box", "--restart-condition", "none", "eon01/infinite"]).ok();
    let task = node.wait_task("box", "rejected");
    assert!(said(&task).contains("No space left on device"), "{task}");
    let left = std::fs::read_dir(node.data_root().join("images/layers")).expect("it is there").flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    assert!(left.is_empty(), "nothing half unpacked stays: {left:?}");
    std::fs::remove_file(filler).expect("it is ours");
    node.wsw(&["service", "create", "--name", "again", "eon01/infinite"]).ok();
    assert_eq!(node.running("again").len(), 1);
}

fn program(folder: &Path, name: &str, text: &str) {
    let (file, new) = (folder.join(name), folder.join(format!("{name}.new")));
    std::fs::write(&new, format!("#!/bin/sh\n{text}\n")).expect("the folder is ours");
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("the file is ours");
    std::fs::rename(new, file).expect("the folder is ours");
}

#[test]
fn a_runtime_that_breaks_fails_new_tasks_and_nothing_else() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let works = r#"exec /usr/sbin/runc "$@""#;
    program(folder.path(), "crun", "echo not on this machine >&2; exit 1");
    program(folder.path(), "runc", works);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
    let node = Node::start_with(Setup { env: vec![("PATH".into(), path)], ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    node.wsw(&["service", "create", "--name", "kept", "--replicas", "2", "eon01/infinite"]).ok();
    let before = node.running("kept");
    // What it says is for the shim, which tells how it ended.
    for (name, text, words) in [
        ("loud", "echo this one is broken >&2; exit 5", "runc did not terminate successfully: exit status 5"),
        ("killed", "kill -9 $$", "runc did not terminate successfully"),
    ] {
        program(folder.path(), "runc", text);
        node.wsw(&["service", "create", "-d", "--restart-condition", "none", "--name", name, INFINITE]).ok();
        let task = node.wait_task(name, "failed");
        assert!(said(&task).contains(words) && code(&task) == Some(128), "{name}: {task}");
    }
    assert_eq!(node.running("kept"), before);
    node.wsw(&["service", "create", "--name", "ticks", &guest("tick").to_string_lossy()]).ok();
    // Told to end while nothing can be ended: it ends once something can.
    node.wsw(&["service", "rm", "loud", "killed", "kept"]).ok();
    program(folder.path(), "runc", works);
    node.wsw(&["service", "create", "--name", "again", "eon01/infinite"]).ok();
    node.wsw(&["service", "rm", "again"]).ok();
    wait_gone(&node);
}

#[test]
fn without_control_groups_a_node_says_so_and_runs_wasm() {
    if !is_root() {
        return;
    }
    let hidden = "mount --make-rprivate / && umount --recursive --lazy /sys/fs/cgroup && exec \"$@\"";
    let prefix = ["unshare", "--mount", "sh", "-c", hidden, "sh"].map(str::to_owned).to_vec();
    let node = Node::start_with(Setup { prefix, ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    let shown = node.wsw(&["node", "inspect", "self", "--pretty"]).ok();
    assert!(shown.contains("wsw.containers=none: no control groups are mounted at /sys/fs/cgroup"), "{shown}");
    node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    node.wsw(&["service", "create", "-d", "--name", "box", "eon01/infinite"]).ok();
    until("the scheduler's reason", || match node.tasks("box").first() {
        Some(task) if said(task).contains("unsupported platform on 1 node") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    node.wsw(&["service", "create", "--name", "ticks", &guest("tick").to_string_lossy()]).ok();
}
