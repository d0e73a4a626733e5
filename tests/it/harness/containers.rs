//! Images for containers, made of Debian's static busybox, and what a killed node's containers leave behind.
//!
//! Owns: the article's image (`eon01/infinite`: `tail -f /dev/null`), as OCI layout and as `docker save`; finding and removing containers of one node by its digits.

use super::archive::{LAYER, Layout, OCI_CONFIG, gzip, saved, tar_of};
use super::leftovers::{kill, processes_below, remove_group};
use super::node::Node;
use super::registry::digest;
use super::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tar::EntryType;

/// Programs that the image has.
const PROGRAMS: [&str; 17] =
    ["sh", "tail", "echo", "ls", "cat", "sleep", "httpd", "ps", "id", "true", "wget", "hostname", "env", "yes", "mount", "stat", "tty"];
pub const INFINITE: &str = "eon01/infinite:latest";

/// One entry of a layer.
pub fn entry(name: &str, kind: EntryType, mode: u32, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    if matches!(kind, EntryType::Block | EntryType::Char) {
        // The first disk, and memory itself.
        let (major, minor) = if kind == EntryType::Block { (8, 0) } else { (1, 1) };
        header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).expect("they fit");
    }
    let gnu = header.as_gnu_mut().expect("it is one");
    gnu.name[..name.len()].copy_from_slice(name.as_bytes());
    gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [header.as_bytes().as_slice(), content, &padding].concat()
}

/// The processor's name in images.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A small system.
pub fn system() -> Vec<u8> {
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok()).expect("busybox-static is installed: run scripts/setup");
    let folder = |name: &str, mode| entry(name, EntryType::Directory, mode, "", b"");
    let file = |name: &str, mode, content: &[u8]| entry(name, EntryType::Regular, mode, "", content);
    let mut entries = vec![folder("bin/", 0o755), folder("etc/", 0o755), folder("tmp/", 0o1777), folder("www/", 0o755), file("bin/busybox", 0o755, &busybox)];
    entries.extend(PROGRAMS.iter().map(|name| entry(&format!("bin/{name}"), EntryType::Symlink, 0o777, "busybox", b"")));
    entries.push(file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/www:/bin/sh\n"));
    entries.push(file("etc/group", 0o644, b"root:x:0:\nweb:x:34:\nlogs:x:50:web\n"));
    entries.push(file("www/index.html", 0o644, b"hello from a container\n"));
    tar_of(&entries)
}

/// The configuration of an image of these layers.
pub fn config(layers: &[Vec<u8>], settings: &Value) -> Value {
    let ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
    json!({"architecture": architecture(), "os": "linux", "config": settings, "rootfs": {"type": "layers", "diff_ids": ids}})
}

/// As an OCI layout with packed layers.
pub fn layout(name: &str, layers: &[Vec<u8>], config: &Value) -> Vec<u8> {
    let packed: Vec<_> = layers.iter().map(|layer| gzip(layer)).collect();
    let mut layout = Layout::default();
    let manifest = layout.manifest((OCI_CONFIG, config), &packed.iter().map(|layer| (LAYER, layer.as_slice())).collect::<Vec<_>>());
    layout.name(manifest, name);
    layout.tar()
}

/// As `docker save` of the older kind writes it, layers as they are.
pub fn docker_save(name: &str, layers: &[Vec<u8>], config: &Value) -> Vec<u8> {
    let names: Vec<_> = (0..layers.len()).map(|at| format!("{at}/layer.tar")).collect();
    let text = config.to_string();
    let mut files = vec![("config.json", text.as_bytes())];
    files.extend(names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)));
    saved(&json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]), &files)
}

/// The article's image in a file; the system it is made of is the same for all.
pub fn infinite(folder: &Path) -> PathBuf {
    let layers = [system()];
    let settings = json!({"Cmd": ["tail", "-f", "/dev/null"], "Env": ["PATH=/bin"], "StopSignal": "SIGKILL"});
    let file = folder.join("infinite.tar");
    std::fs::write(&file, layout(INFINITE, &layers, &config(&layers, &settings))).expect("the folder is ours");
    file
}

/// The digits that all names of a node's containers carry.
fn digits(data_root: &Path) -> String {
    digest(data_root.as_os_str().as_encoded_bytes()).trim_start_matches("sha256:").chars().take(12).collect()
}

/// Processes in the control groups of a node's containers. What has ended and waits for its parent (a machine's first process may be slow) is in none.
pub fn contained(data_root: &Path) -> Vec<i32> {
    let wanted = format!("/wsw/{}/oci/", digits(data_root));
    let numbers = std::fs::read_dir("/proc").expect("procfs is there").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let lives = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("\nState:\tZ"));
    numbers.filter(|pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&wanted)) && lives(pid)).collect()
}

/// What of a node's containers is on the machine: processes, mounts, links, groups, states of runc. Empty when all is gone.
pub fn traces(data_root: &Path, exec_root: &Path) -> Vec<String> {
    let id = digits(data_root);
    let mut found: Vec<_> = contained(data_root).into_iter().map(|pid| format!("process {pid}")).collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("procfs is there");
    found.extend(
        mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| Path::new(point).starts_with(exec_root.join("oci")))
            .map(|point| format!("mount {point}")),
    );
    found.extend(groups(&id).into_iter().map(|group| format!("group {}", group.display())));
    for folder in [
        exec_root.join("oci/b"),
        exec_root.join("oci/g"),
        exec_root.join("oci/n"),
        data_root.join("containers"),
        PathBuf::from(format!("/run/containerd/runc/wsw-{id}")),
    ] {
        found.extend(std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| format!("{}", entry.path().display())));
    }
    found
}

/// Waits until nothing of the node's containers is left on the machine.
#[track_caller]
pub fn wait_gone(node: &Node) {
    until("all traces of containers to go", || match traces(node.data_root(), &node.folder().join("e")) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// A node in a swarm of its own that has the article's image.
pub fn node_with_image() -> Node {
    let node = Node::swarm();
    let loaded = node.wsw(&["load", "-i", &infinite(node.folder()).to_string_lossy()]).ok();
    assert_eq!(loaded, format!("Loaded image: {INFINITE}\n"));
    node
}

/// containerd's shims of a node that work for tasks of this service, by its id.
pub fn shims_of(node: &Node, service: &str) -> Vec<i32> {
    let id = node.json(&format!("/services/{service}"))["ID"].as_str().unwrap_or_default().to_owned();
    let words = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).unwrap_or_default();
    let is_shim = |words: &str| words.contains("-shim-") && words.contains(&format!("-id {id}")) && !words.ends_with("start ") && !words.ends_with("delete ");
    processes_below(node.folder()).into_iter().filter(|pid| is_shim(&words(*pid))).collect()
}

/// Where the control groups of a node's containers lie, in each hierarchy that the machine has.
pub fn group_bases(data_root: &Path) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let own = |base: PathBuf| base.join("wsw").join(digits(data_root));
    if root.join("cgroup.procs").exists() {
        return vec![own(root.to_owned())];
    }
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    hierarchies.map(|entry| own(entry.path())).collect()
}

/// Links of a node's containers: the ports of its bridge.
pub fn network(node: &Node) -> Vec<String> {
    let ports = std::fs::read_dir(bridge(node.data_root()).join("brif")).into_iter().flatten().flatten();
    ports.map(|port| port.file_name().to_string_lossy().into_owned()).collect()
}

/// The node's bridge.
pub fn bridge(data_root: &Path) -> PathBuf {
    Path::new("/sys/class/net").join(format!("wsw{}", digits(data_root).chars().take(8).collect::<String>()))
}

/// Control groups of a node's containers, the innermost first.
fn groups(id: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let below =
        |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>();
    let bases = below(root).into_iter().chain([root.to_owned()]).map(|base| base.join("wsw").join(id).join("oci")).filter(|base| base.is_dir());
    bases.flat_map(|base| below(&base).into_iter().chain([base])).collect()
}

/// Ends and removes the containers of a killed node.
pub fn remove_containers(data_root: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let id = digits(data_root);
    for pid in contained(data_root) {
        kill(pid, Signal::KILL);
    }
    for group in groups(&id) {
        remove_group(&group);
        if group.ends_with("oci") {
            let _ = group.parent().map(std::fs::remove_dir);
        }
    }
    let _ = std::fs::remove_dir_all(format!("/run/containerd/runc/wsw-{id}"));
    let name = bridge(data_root);
    if name.exists() {
        let quiet = |program: &str, arguments: &[&str]| drop(Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status());
        quiet("ip", &["link", "delete", &name.file_name().unwrap_or_default().to_string_lossy()]);
        quiet("nft", &["delete", "table", "ip", &format!("wsw_{id}")]);
    }
}
