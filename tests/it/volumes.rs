//! Mounts of tasks, with a guest that does with files what it is told: binds, volumes, tmpfs, who owns what, and what must not be reached.

use crate::harness::{self, Node, Setup, free_tcp_port, guest, module, until};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A folder of the test's own, with this mode.
fn folder(node: &Node, name: &str, mode: u32) -> PathBuf {
    let path = node.folder().join(name);
    std::fs::create_dir_all(&path).expect("it is ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    path
}

fn create(node: &Node, name: &str, flags: &[&str], wasm: &Path, steps: &[&str]) {
    let wasm = wasm.to_string_lossy();
    let mut words = vec!["service", "create", "-d", "--name", name, "--restart-condition", "none"];
    words.extend(flags);
    words.push(&wasm);
    words.extend(steps);
    node.wsw(&words).ok();
}

fn said(node: &Node, name: &str) -> String {
    node.wsw(&["service", "logs", "--raw", name]).out
}

/// Runs the guest's steps to their end; what it said, by step.
fn steps(node: &Node, name: &str, flags: &[&str], steps: &[&str]) -> Vec<String> {
    create(node, name, flags, &guest("files"), steps);
    node.wait_task(name, "complete");
    let lines: Vec<String> = said(node, name).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), steps.len(), "{lines:#?}");
    lines
}

/// All that is mounted below the node's folder.
fn mounted(node: &Node) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("procfs is there");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(node.folder()));
    points.map(str::to_owned).collect()
}

fn nothing_mounted(node: &Node) {
    until("nothing to be mounted", || match mounted(node) {
        points if points.is_empty() => Ok(()),
        points => Err(format!("{points:?}")),
    });
}

fn bind(source: &Path, rest: &str) -> String {
    format!("type=bind,source={},{rest}", source.display())
}

#[test]
fn a_bind_is_read_and_written_as_the_services_user() {
    if !root() {
        return;
    }
    let node = Node::swarm();
    for (name, user, uid) in [("zero", "0", 0), ("other", "1234:5", 1_234)] {
        // Closed to all but its owner: without the map of owners the shim's user would see nothing.
        let source = folder(&node, name, 0o700);
        std::os::unix::fs::chown(&source, Some(uid), None).expect("we are root");
        std::fs::write(source.join("in"), "from outside").expect("we are root");
        let flags = ["--user", user, "--mount", &bind(&source, "target=/data")];
        let lines = steps(&node, name, &flags, &["read:/data/in", "write:/data/out:from inside", "mkdir:/data/sub", "write:/data/sub/x:y", "list:/data"]);
        assert_eq!(lines[0], "read:/data/in = from outside");
        assert_eq!(lines[4], "list:/data = in out sub", "{lines:#?}");
        for file in ["out", "sub", "sub/x"] {
            assert_eq!(std::fs::metadata(source.join(file)).expect("the guest made it").uid(), uid, "{name}: {file}");
        }
        assert_eq!(std::fs::read_to_string(source.join("out")).expect("it is there"), "from inside");
    }
    nothing_mounted(&node);
}

#[test]
fn read_only_is_read_only() {
    let node = Node::swarm();
    let source = folder(&node, "src", 0o777);
    std::fs::write(source.join("in"), "x").expect("it is ours");
    let flags = ["--mount", &bind(&source, "target=/data,readonly")];
    let lines =
        steps(&node, "ro", &flags, &["read:/data/in", "write:/data/out:y", "append:/data/in:y", "rm:/data/in", "mkdir:/data/d", "rename:/data/in:/data/b"]);
    assert_eq!(lines[0], "read:/data/in = x");
    assert!(lines[1..].iter().all(|line| line.contains(" ! ")), "{lines:#?}");
    assert_eq!(std::fs::read_dir(&source).expect("it is ours").count(), 1);
}

#[test]
fn a_volume_is_made_when_it_is_used_shared_and_kept() {
    let node = Node::swarm();
    let mount = "source=shared,target=/data,volume-label=tier=back";
    create(&node, "two", &["--replicas", "2", "--mount", mount], &guest("files"), &["append:/data/log:x", "wait"]);
    assert_eq!(node.wait_running("two", 2).len(), 2);
    let data = node.data_root().join("volumes/shared/_data");
    until("both to have written", || match std::fs::read_to_string(data.join("log")).unwrap_or_default() {
        text if text == "xx" => Ok(()),
        text => Err(text),
    });
    assert_eq!(node.wsw(&["volume", "ls", "--format", "{{.Name}} {{.Labels}}"]).ok(), "shared tier=back\n");
    assert_eq!(node.wsw(&["volume", "ls", "-q", "--filter", "dangling=true"]).ok(), "");
    let refused = node.wsw(&["volume", "rm", "shared"]).failed();
    assert!(refused.starts_with("Error response from daemon: remove shared: volume is in use - ["), "{refused}");
    assert_eq!(node.wsw(&["volume", "prune", "-af"]).ok(), "Total reclaimed space: 0B\n");
    node.wsw(&["service", "rm", "two"]).ok();
    until("the volume to be free", || match node.wsw(&["volume", "ls", "-q", "--filter", "dangling=true"]).ok() {
        text if text == "shared\n" => Ok(()),
        text => Err(text),
    });
    // Another service finds what the first one left.
    assert_eq!(steps(&node, "later", &["--mount", "source=shared,target=/data"], &["read:/data/log"]), ["read:/data/log = xx"]);
    node.wsw(&["service", "rm", "later"]).ok();
    until("the volume to be removed", || match node.wsw(&["volume", "rm", "shared"]) {
        run if run.code == 0 => Ok(()),
        run => Err(run.err),
    });
    assert!(!data.exists());
    nothing_mounted(&node);
}

#[test]
fn a_volume_without_a_name_goes_with_its_task() {
    let node = Node::swarm();
    create(&node, "own", &["--mount", "type=volume,target=/data"], &guest("files"), &["write:/data/x:y", "wait"]);
    node.wait_running("own", 1);
    assert_eq!(node.wsw(&["volume", "ls", "-q"]).ok().trim().len(), 64);
    node.wsw(&["service", "rm", "own"]).ok();
    until("the volume to go", || match node.wsw(&["volume", "ls", "-q"]).ok() {
        text if text.is_empty() => Ok(()),
        text => Err(text),
    });
}

#[test]
fn what_is_full_is_full() {
    if !root() {
        return;
    }
    let node = Node::swarm();
    let options = "type=volume,source=small,target=/vol,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m";
    let flags = ["--mount", "type=tmpfs,target=/tmp,tmpfs-size=1m,tmpfs-mode=700", "--mount", options];
    let all = ["fill:/tmp/x", "rm:/tmp/x", "write:/tmp/y:again", "fill:/vol/x", "read:/tmp/y"];
    // A component's C library says "I/O error" for all that a stream fails with; a module's says what the kernel said.
    for (name, wasm, words) in [("full", guest("files"), "then "), ("old", module("files"), "then No space left on device")] {
        create(&node, name, &flags, &wasm, &all);
        node.wait_task(name, "complete");
        let lines: Vec<String> = said(&node, name).lines().map(str::to_owned).collect();
        for (line, path) in [(&lines[0], "/tmp/x"), (&lines[3], "/vol/x")] {
            let written = line.strip_prefix(&format!("fill:{path} = ")).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
            assert!(written.is_some_and(|bytes| (900_000..=1 << 20).contains(&bytes)) && line.contains(words), "{line}");
        }
        assert_eq!(lines[4], "read:/tmp/y = again");
    }
    // The interface itself tells a component what it was.
    let flags = ["--mount", "type=tmpfs,target=/tmp,tmpfs-size=1m"];
    let told = &steps(&node, "told", &flags, &["space:/tmp/x"])[0];
    assert!(told.contains("insufficient-space"), "{told}");
    nothing_mounted(&node);
}

#[test]
fn nothing_outside_of_a_folder_is_reached() {
    for ordinary_user in [false, true] {
        let node = Node::start_with(Setup { ordinary_user, ..Setup::default() });
        node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
        let (inside, outside) = (folder(&node, "src/in", 0o777), folder(&node, "src/out", 0o777));
        std::fs::write(outside.join("secret"), "secret").expect("it is ours");
        std::os::unix::fs::symlink("../out/secret", inside.join("up")).expect("it is ours");
        std::os::unix::fs::symlink(outside.join("secret"), inside.join("absolute")).expect("it is ours");
        std::os::unix::fs::symlink("/etc/hostname", inside.join("etc")).expect("it is ours");
        let other = folder(&node, "src/other", 0o777);
        let flags = ["--mount", &bind(&inside, "target=/data"), "--mount", &bind(&other, "target=/other")];
        let tries = [
            "read:/data/../out/secret",
            "read:/data/up",
            "read:/data/absolute",
            "read:/data/etc",
            "read:/etc/hostname",
            "list:/",
            "list:/data/..",
            "read:/proc/self/environ",
            "symlink:/etc/hostname:/data/made",
            "symlink:../out/secret:/data/made2",
            "read:/data/made2",
            "write:/data/up:changed",
            "write:/data/../out/new:x",
            "link:/data/up:/data/hard",
            "read:/data/hard",
            "link:/data/../out/secret:/data/hard",
            "rename:/data/up:/data/../out/moved",
            "rename:/data/../out/secret:/data/moved",
            "mkdir:/data/../out/d",
            "rm:/data/../out/secret",
        ];
        let lines = steps(&node, "escape", &flags, &tries);
        // Links that lead elsewhere may be made, since they lead nowhere for the guest; nothing else comes through.
        let may = |line: &String| line.starts_with("symlink:../out/secret:/data/made2 ") || line.starts_with("link:/data/up:/data/hard ");
        let through: Vec<&String> = lines.iter().filter(|line| !line.contains(" ! ") && !may(line)).collect();
        assert!(through.is_empty(), "{through:#?}");
        assert_eq!(std::fs::read_to_string(outside.join("secret")).expect("it is there"), "secret");
        assert_eq!(std::fs::read_dir(&outside).expect("it is ours").count(), 1);
        // Nothing gets into a folder that is read-only, nor out of it but by its bytes.
        std::fs::write(other.join("own"), "own").expect("it is ours");
        let flags = ["--mount", &bind(&inside, "target=/data"), "--mount", &bind(&other, "target=/other,readonly")];
        let tries = ["write:/data/a:1", "rename:/data/a:/other/a", "link:/data/a:/other/b", "rename:/other/own:/data/own", "link:/other/own:/data/own"];
        let lines = steps(&node, "across", &flags, &tries);
        assert!(lines[1..].iter().all(|line| line.contains(" ! ")), "{lines:#?}");
        assert!(inside.join("a").is_file() && other.join("own").is_file());
        assert_eq!(std::fs::read_dir(&other).expect("it is ours").count(), 1);
    }
}

#[test]
fn what_cannot_be_mounted_is_rejected_with_the_reason() {
    if !root() {
        return;
    }
    let node = Node::swarm();
    let source = folder(&node, "src", 0o755);
    let fifo = source.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("it is ours");
    let closed = folder(&node, "closed", 0o700);
    let cases = [
        ("missing", bind(Path::new("/no/such"), "target=/a"), "bind source path does not exist: /no/such".to_owned()),
        ("fifo", bind(&fifo, "target=/a"), format!("bind source {} is a FIFO", fifo.display())),
        ("device", bind(Path::new("/dev/null"), "target=/a"), "bind source /dev/null is a device".to_owned()),
        (
            "closed",
            bind(&closed, "target=/a"),
            format!(
                "bind source {0} belongs to 0:0 (mode 0700): Wasm runs as user 1000, which cannot read and enter it; run: chown 1000 {0}",
                closed.display()
            ),
        ),
        (
            "option",
            "source=vv,target=/a,volume-opt=type=nfs,volume-opt=device=:/x,volume-opt=o=addr=127.0.0.1".to_owned(),
            "create vv: option type=nfs: not supported by this version of wsw".to_owned(),
        ),
    ];
    for (name, mount, words) in &cases {
        create(&node, name, &["--user", "1000", "--mount", mount], &guest("files"), &["list:/a"]);
        let task = node.wait_task(name, "rejected");
        let why = task["Status"]["Err"].as_str().unwrap_or_default();
        assert!(why.contains(words.as_str()), "{name}: {why}");
    }
    // A driver that no node has: the scheduler looks for one that has it.
    create(&node, "driver", &["--mount", "source=vv,target=/a,volume-driver=nfs"], &guest("files"), &["list:/a"]);
    let why = "no suitable node (missing plugin on 1 node)";
    until("the task to wait for the driver", || match node.tasks("driver").first().map(|task| task["Status"]["Err"].clone()) {
        Some(said) if said == why => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(node.wsw(&["volume", "ls", "-q"]).ok(), "");
    nothing_mounted(&node);
}

#[test]
fn mounts_outlive_the_daemon_and_go_with_the_swarm() {
    if !root() {
        return;
    }
    let mut node = Node::swarm();
    let source = folder(&node, "src", 0o755);
    let flags = ["--replicas", "3", "--mount", &bind(&source, "target=/data"), "--mount", "source=vol,target=/vol", "--mount", "type=tmpfs,target=/tmp"];
    create(&node, "held", &flags, &guest("files"), &["wait"]);
    let before = node.wait_running("held", 3);
    assert_eq!(mounted(&node).len(), 9, "{:?}", mounted(&node));
    node.kill();
    node.restart();
    assert_eq!(node.wait_running("held", 3), before);
    assert_eq!(mounted(&node).len(), 9);
    node.wsw(&["volume", "rm", "vol"]).failed();
    // A shim that dies while nobody looks: its tasks' mounts go, new ones come.
    node.kill();
    let pid = before.values().next().copied().expect("there are three");
    crate::harness::kill(i32::try_from(pid).expect("a pid"), rustix::process::Signal::KILL);
    node.restart();
    until("the dead tasks' mounts to go", || match mounted(&node) {
        points if points.iter().all(|point| before.keys().all(|task| !point.contains(task.as_str()))) => Ok(()),
        points => Err(format!("{points:?}")),
    });
    node.wsw(&["swarm", "leave", "--force"]).ok();
    nothing_mounted(&node);
    assert!(source.is_dir() && node.data_root().join("volumes/vol/_data").is_dir());
}

#[test]
fn modules_and_an_ordinary_user_have_folders_too() {
    let node = Node::start_with(Setup { ordinary_user: true, ..Setup::default() });
    node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    let source = folder(&node, "src", 0o777);
    let flags = ["--mount", &bind(&source, "target=/data"), "--mount", "source=vol,target=/data/vol"];
    create(&node, "old", &flags, &module("files"), &["write:/data/a:1", "write:/data/vol/b:2", "read:/data/vol/b", "list:/data"]);
    node.wait_task("old", "complete");
    assert!(said(&node, "old").contains("read:/data/vol/b = 2\n"), "{}", said(&node, "old"));
    assert_eq!(std::fs::read_to_string(source.join("a")).expect("it is there"), "1");
    assert!(node.data_root().join("volumes/vol/_data/b").is_file());
    create(&node, "mem", &["--mount", "type=tmpfs,target=/tmp"], &guest("files"), &["list:/tmp"]);
    let task = node.wait_task("mem", "rejected");
    assert!(task["Status"]["Err"].as_str().unwrap_or_default().contains("does not run as root"), "{task:#}");
}

#[test]
fn mounts_are_shown_and_changed_as_docker_does() {
    let node = Node::swarm();
    create(&node, "web", &["--replicas", "0", "--mount", "source=aa,target=/a,readonly"], &guest("tick"), &[]);
    node.wsw(&["service", "update", "-d", "--mount-add", "type=bind,source=/srv,target=/b", "web"]).ok();
    let shown = |node: &Node| node.wsw(&["service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec.Mounts}}", "web"]).ok();
    let both = r#"[{"Type":"bind","Source":"/srv","Target":"/b"},{"Type":"volume","Source":"aa","Target":"/a","ReadOnly":true}]"#;
    assert_eq!(shown(&node).trim(), both);
    node.wsw(&["service", "update", "-d", "--mount-rm", "/a", "web"]).ok();
    assert_eq!(shown(&node).trim(), r#"[{"Type":"bind","Source":"/srv","Target":"/b"}]"#);
    let twice = node.wsw(&["service", "create", "--mount", "source=aa,target=/a", "--mount", "source=bb,target=/a", &guest("tick").to_string_lossy()]).failed();
    assert!(twice.contains("ContainerSpec: duplicate mount point: /a"), "{twice}");
}

/// A file system that cannot map owners (ramfs can not): files keep theirs, and a task has what all users have.
#[test]
fn where_owners_cannot_be_mapped() {
    if !root() {
        return;
    }
    let node = Node::swarm();
    let ram = folder(&node, "ram", 0o755);
    rustix::mount::mount("none", &ram, "ramfs", rustix::mount::MountFlags::empty(), None).expect("the kernel has ramfs");
    let [open, readable, closed, fresh] =
        [("ram/open", 0o777), ("ram/readable", 0o755), ("ram/closed", 0o700), ("ram/fresh", 0o700)].map(|(name, mode)| folder(&node, name, mode));
    std::fs::write(readable.join("f"), "text").expect("it is ours");
    let flags = ["--mount", &bind(&open, "target=/open"), "--mount", &bind(&readable, "target=/readable")];
    let lines = steps(&node, "reader", &flags, &["read:/readable/f", "write:/readable/g:no", "write:/open/g:yes"]);
    assert_eq!(lines[0], "read:/readable/f = text");
    assert!(lines[1].contains("Permission denied"), "{lines:#?}");
    assert_eq!(lines[2], "write:/open/g:yes = done");
    let shim = std::fs::metadata(open.join("g")).expect("it was written").uid();
    assert!(shim != 0, "a file belongs to who wrote it, which is not root");
    // A fresh volume is handed over to whoever can use it.
    let options = format!("source=vv,target=/v,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={}", fresh.display());
    assert_eq!(steps(&node, "owner", &["--user", "1000", "--mount", &options], &["write:/v/x:mine"])[0], "write:/v/x:mine = done");
    assert_eq!(std::fs::metadata(&fresh).expect("it is there").uid(), shim);
    create(&node, "closed", &["--user", "1000", "--mount", &bind(&closed, "target=/a")], &guest("files"), &["list:/a"]);
    let why = node.wait_task("closed", "rejected")["Status"]["Err"].as_str().unwrap_or_default().to_owned();
    let path = closed.display();
    let words = format!("bind source {path} belongs to 0:0 (mode 0700): Wasm runs as user {shim}, which cannot read and enter it; run: chown {shim} {path}");
    assert!(why.contains(&words), "{why}");
}

/// A server has its folders as a command has them.
#[test]
fn an_http_server_has_a_volume() {
    let node = Node::swarm();
    let port = free_tcp_port();
    let (publish, lab) = (format!("{port}:80"), guest("lab_http").to_string_lossy().into_owned());
    let words = ["service", "create", "--name", "lab", "-p", &publish, "--replicas", "2", "--mount", "source=shared,target=/data", &lab];
    node.wsw(&words).ok();
    let get = |path: &str| harness::get(port, path).unwrap();
    assert_eq!(get("/read/f").status, 500);
    assert_eq!(get("/keep/f").status, 200);
    // Whichever replica answers: the volume is one.
    for _ in 0..4 {
        assert!(get("/read/f").body.starts_with("kept"), "{:?}", get("/read/f"));
    }
    let data = node.json("/volumes/shared")["Mountpoint"].as_str().map(PathBuf::from).expect("it is there");
    assert_eq!(std::fs::read_to_string(data.join("f")).expect("it is there"), "kept\n");
    node.wsw(&["service", "update", "-d", "--mount-add", "source=shared,target=/data,readonly", "lab"]).ok();
    let status = |path: &str| harness::get(port, path).map(|answer| answer.status);
    until("the read-only replicas alone", || match [status("/keep/g"), status("/keep/g"), status("/read/f")] {
        [Ok(500), Ok(500), Ok(200)] => Ok(()),
        answers => Err(format!("{answers:?}")),
    });
}

/// A Wasm image has no accounts: a user is a number, with mounts and without.
#[test]
fn a_user_by_name_is_refused() {
    let node = Node::swarm();
    node.wsw(&["volume", "create", "data"]).ok();
    for (name, flags) in [("plain", &["--user", "app"][..]), ("mounted", &["--user", "app", "--mount", "source=data,target=/data"])] {
        create(&node, name, flags, &guest("files"), &["list:/data"]);
        let task = node.wait_task(name, "rejected");
        assert_eq!(task["Status"]["Err"], "user app: a Wasm image has no accounts; use numbers (UID or UID:GID)");
    }
    create(&node, "numbers", &["--user", "1000:1000"], &guest("files"), &[]);
    node.wait_task("numbers", "complete");
}

/// What is told of volumes, and how containers show them.
#[test]
fn volumes_are_told_of_and_shown() {
    let node = Node::swarm();
    node.wsw(&["volume", "create", "kept"]).ok();
    let kept = "source=kept,target=/data,readonly";
    let tmpfs = if root() { &["--mount", "type=tmpfs,target=/t"][..] } else { &[] };
    let words = ["service", "create", "--name", "ticking", "--mount", kept, "--mount", "target=/own"];
    node.wsw(&[&words[..], tmpfs, &[&guest("tick").to_string_lossy()]].concat()).ok();
    let id = node.wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned();
    let inspected = node.json(&format!("/containers/{id}/json"));
    let mounts = inspected["Mounts"].as_array().expect("a list");
    assert_eq!(mounts[0]["Name"], "kept");
    assert!(mounts[0]["Source"].as_str().is_some_and(|path| Path::new(path).is_dir()) && mounts[0]["Driver"] == "local", "{inspected}");
    assert_eq!((&mounts[0]["Destination"], &mounts[0]["RW"], &mounts[0]["Type"]), (&"/data".into(), &false.into(), &"volume".into()));
    let own = mounts[1]["Name"].as_str().expect("it has a name").to_owned();
    assert!(own.len() == 64 && mounts[1]["RW"] == true && mounts.len() == if root() { 3 } else { 2 }, "{inspected}");
    let shown = |filter: &str| node.wsw(&["ps", "--filter", filter, "--no-trunc", "--format", "{{.Mounts}} {{.LocalVolumes}}"]).ok();
    assert!(shown("volume=kept").starts_with(&format!("kept,{own}")) && shown("volume=kept").trim().ends_with('2'), "{}", shown("volume=kept"));
    assert!(!shown("volume=/own").is_empty() && shown("volume=nosuch").is_empty());
    node.wsw(&["service", "rm", "ticking"]).ok();
    until("the volumes to be free", || match node.wsw(&["volume", "rm", "kept"]) {
        run if run.code == 0 => Ok(()),
        run => Err(run.err),
    });
    node.wsw(&["volume", "prune", "-f"]).ok();
    let format = "{{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}";
    let told = node.told(&["--filter", "type=volume", "--format", format], |told| told.contains("prune "));
    let of = |name: &str| told.lines().filter(|line| line.contains(name)).map(|line| line.split(' ').next().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(of(" kept "), ["create", "mount", "unmount", "destroy"], "{told}");
    assert_eq!(of(&format!(" {own} ")), ["create", "mount", "unmount", "destroy"], "{told}");
    let mount = told.lines().find(|line| line.starts_with("mount kept")).expect("it was told");
    for part in [format!("\"container\":\"{id}\""), "\"destination\":\"/data\"".into(), "\"read/write\":\"false\"".into(), "\"driver\":\"local\"".into()] {
        assert!(mount.contains(&part), "{part} in {mount}");
    }
    assert!(told.lines().any(|line| line.starts_with("prune") && line.contains("\"reclaimed\"")), "{told}");
    let only = node.told(&["--filter", "volume=kept", "--format", "{{.Action}}"], |told| told.contains("destroy"));
    assert_eq!(only.lines().collect::<Vec<_>>(), ["create", "mount", "unmount", "destroy"]);
}
