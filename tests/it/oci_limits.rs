//! Limits of containers as the kernel has them, in control groups of either version: what a service asks for is in force, is shown, and follows what a daemon's crash leaves.

use crate::harness::containers::{group_bases, infinite, node_with_image, wait_gone};
use crate::harness::{self, Node, Setup, guest, is_root, until};
use std::path::{Path, PathBuf};

/// Each value by the names of its file in both versions, as it reads in each.
const FORCED: [([&str; 2], [&str; 2]); 3] = [
    (["memory.max", "memory.limit_in_bytes"], ["50331648", "50331648"]),
    (["cpu.max", "cpu.cfs_quota_us"], ["25000 100000", "25000"]),
    (["pids.max", "pids.max"], ["30", "30"]),
];
const LIMITS: [&str; 6] = ["--limit-memory", "48m", "--limit-cpu", "0.25", "--limit-pids", "30"];

/// The groups of a task's container, in each hierarchy.
fn groups(node: &Node, service: &str) -> Vec<PathBuf> {
    let task = node.running(service).into_keys().next().expect("it runs");
    group_bases(node.data_root()).into_iter().map(|base| base.join("oci").join(&task)).filter(|group| group.is_dir()).collect()
}

/// The files of these names in a container's groups, of whichever hierarchies have them.
fn read(groups: &[PathBuf], names: &[&str]) -> Vec<String> {
    let files = groups.iter().flat_map(|group| names.iter().map(|name| group.join(name)));
    files.filter_map(|file| std::fs::read_to_string(file).ok()).map(|text| text.trim().to_owned()).collect()
}

/// Groups with groups below them hold no process in version 2, or the kernel would let none be limited.
fn processes_of_parents(groups: &[PathBuf]) -> Vec<String> {
    let parents = groups.iter().flat_map(|group| group.ancestors().skip(1).take(3).map(Path::to_owned).collect::<Vec<_>>());
    parents.filter_map(|parent| std::fs::read_to_string(parent.join("cgroup.procs")).ok()).filter(|text| !text.is_empty()).collect()
}

#[test]
fn limits_are_the_kernels_and_shown() {
    if !is_root() {
        return;
    }
    let mut node = node_with_image();
    let reserved = ["--reserve-memory", "16m", "--reserve-cpu", "0.1"];
    // It computes for ever: its quarter of a processor has to be all it gets.
    let busy = ["eon01/infinite", "sh", "-c", "while true; do :; done"];
    node.wsw(&[&["service", "create", "--name", "busy"], &LIMITS[..], &reserved, &busy].concat()).ok();
    let groups = groups(&node, "busy");
    assert!(!groups.is_empty());
    let check = || {
        for (names, values) in &FORCED {
            let found = read(&groups, names);
            assert!(found.iter().any(|found| values.contains(&found.as_str())), "{names:?}: {found:?}");
        }
    };
    check();
    until("the processor to be held back", || {
        let text = read(&groups, &["cpu.stat"]).join("\n");
        let held = text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse::<u64>().ok());
        if held.is_some_and(|count| count > 3) { Ok(()) } else { Err(text) }
    });
    let stats = node.wsw(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}"]).ok();
    assert!(stats.contains("/ 48MiB") && stats.trim().ends_with(" 1"), "{stats}");
    assert_eq!(processes_of_parents(&groups), Vec::<String>::new());
    // An exec counts into the same groups.
    let id = node.wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned();
    node.wsw(&["exec", "-d", &id, "sleep", "600"]).ok();
    until("the command to be in all of them", || {
        let pids = read(&groups, &["cgroup.procs"]);
        if pids.iter().all(|pids| pids.lines().count() == 2) { Ok(()) } else { Err(format!("{pids:?}")) }
    });
    node.kill();
    node.restart();
    node.wait_running("busy", 1);
    check();
    node.wsw(&["service", "rm", "busy"]).ok();
    wait_gone(&node);
    assert!(groups.iter().all(|group| !group.exists()));
}

#[test]
fn a_command_that_takes_all_memory_ends_and_its_container_stays() {
    if !is_root() {
        return;
    }
    let node = node_with_image();
    node.wsw(&[&["service", "create", "--name", "box"], &LIMITS[..], &["eon01/infinite"]].concat()).ok();
    let before = node.running("box");
    let id = node.wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned();
    // The first process is small: the kernel chooses the one that grows.
    let said = node.wsw(&["exec", &id, "sh", "-c", "x=x; while true; do x=$x$x; done"]);
    assert_eq!(said.code, 137, "{said}");
    assert_eq!(node.running("box"), before);
    node.wsw(&["service", "rm", "box"]).ok();
    wait_gone(&node);
}

/// A daemon whose topmost control group is one of version 2 with processes in it, as in a container.
struct Boxed {
    node: Node,
    group: Removed,
}

/// Goes after the node.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        below(&self.0).iter().rev().for_each(|group| harness::remove_group(group));
    }
}

/// A group and all below it, outer ones first.
fn below(group: &Path) -> Vec<PathBuf> {
    let inner = std::fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    std::iter::once(group.to_owned()).chain(inner.flat_map(|inner| below(&inner))).collect()
}

impl Boxed {
    /// The group's parent gives it these controllers.
    fn start(controllers: &str) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        if !is_root() || !root.join("cgroup.controllers").is_file() {
            println!("skipped: no control groups of version 2 alone, or we are not root");
            return None;
        }
        let outer = root.join(format!("wswt-{}-{}", std::process::id(), controllers.len()));
        let group = outer.join("box");
        std::fs::create_dir_all(&group).expect("groups can be made");
        for (group, controllers) in [(root, "+cpu +memory +pids"), (&outer, controllers)] {
            std::fs::write(group.join("cgroup.subtree_control"), controllers).expect("the root has them");
        }
        let inner = "mount --make-rprivate / && umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && \"$@\"";
        let script = format!("echo 0 >{}/cgroup.procs && exec unshare --mount --cgroup sh -c '{inner}; exit $?' sh \"$@\"", group.display());
        let node = Node::start_with(Setup { prefix: ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec(), ..Setup::default() });
        node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
        node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
        Some(Self { node, group: Removed(outer) })
    }
}

#[test]
fn a_daemon_in_a_container_makes_room_for_others_below_it() {
    let Some(Boxed { node, group }) = Boxed::start("+cpu +memory +pids") else { return };
    node.wsw(&[&["service", "create", "--name", "box"], &LIMITS[..], &["eon01/infinite"]].concat()).ok();
    node.wsw(&["service", "create", "--name", "ticks", "--limit-memory", "64m", &guest("tick").to_string_lossy()]).ok();
    let task = node.running("box").into_keys().next().expect("it runs");
    let all = below(&group.0);
    let container: Vec<_> = all.iter().filter(|group| group.ends_with(&task)).cloned().collect();
    for (names, values) in &FORCED {
        assert_eq!(read(&container, &names[..1]), [values[0]], "{names:?}");
    }
    let shim = all.iter().find(|group| group.file_name().is_some_and(|name| name.to_string_lossy().starts_with("shim-"))).expect("a shim's group");
    until("the limit of the Wasm shim", || match read(std::slice::from_ref(shim), &["memory.max"]).as_slice() {
        [limit] if limit != "max" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // The shell that started the daemon is beside it.
    assert!(read(&[group.0.join("box/init")], &["cgroup.procs"])[0].lines().count() >= 2);
    for parent in all.iter().filter(|group| below(group).len() > 1) {
        assert_eq!(read(std::slice::from_ref(parent), &["cgroup.procs"]), [""], "{}", parent.display());
    }
    node.wsw(&["service", "rm", "box", "ticks"]).ok();
    until("the container's group to go", || if container[0].exists() { Err(String::new()) } else { Ok(()) });
}

#[test]
fn a_node_without_controllers_says_so_and_runs_wasm() {
    let Some(Boxed { node, group: _group }) = Boxed::start("-cpu -memory -pids") else { return };
    let shown = node.wsw(&["node", "inspect", "self", "--pretty"]).ok();
    assert!(shown.contains("wsw.containers=none: ") && shown.contains("pids") && !shown.contains(", cgroup"), "{shown}");
    node.wsw(&["service", "create", "--name", "ticks", &guest("tick").to_string_lossy()]).ok();
}
