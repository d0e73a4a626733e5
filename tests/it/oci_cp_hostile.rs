//! `docker cp` with containers that would gain by it: links to the node, folders that change under the copy, pipes, devices, the kernel's own files; and what may not be
//! written to, what is too large to be held, what is not there.

use crate::harness::containers::infinite;
use crate::harness::{self, Node, clients, guest, is_root, run, until};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

fn node() -> Node {
    let node = Node::swarm();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node
}

/// The id of a new service's container.
fn container(node: &Node, name: &str, arguments: &[&str]) -> String {
    node.wsw(&[&["service", "create", "--name", name, "--restart-delay", "0s"], arguments, &["eon01/infinite"]].concat()).ok();
    node.wsw(&["ps", "-q", "--no-trunc", "--filter", &format!("name={name}.")]).ok().trim().to_owned()
}

fn sh(node: &Node, id: &str, script: &str) -> String {
    node.wsw(&["exec", "-u", "0", id, "busybox", "sh", "-c", script]).ok()
}

#[test]
fn nothing_of_the_node_is_read_or_written() {
    if !is_root() {
        return;
    }
    let node = node();
    let id = container(&node, "box", &[]);
    let node_folder = node.folder().join("host");
    std::fs::create_dir_all(node_folder.join("deep")).expect("the folder is ours");
    std::fs::write(node_folder.join("deep/f"), "secret of the node").expect("the folder is ours");
    let outside = node_folder.display().to_string();
    let deep = "../".repeat(40);
    sh(
        &node,
        &id,
        &format!("mkdir /l && cd /l && ln -s {outside} abs && ln -s {deep}{outside} rel && ln -s /proc/1/root{outside} proc && ln -s /proc/sys/kernel sysctl"),
    );
    let local = node.folder().join("x");
    std::fs::write(&local, "from the user").expect("the folder is ours");
    let local = local.to_string_lossy().into_owned();
    for client in &clients() {
        let cp = |from: &str, to: &str| run(&mut node.client(client, &["cp", from, to]));
        for path in ["/l/abs/deep/f", "/l/rel/deep/f", "/l/proc/deep/f", &format!("/{deep}{outside}/deep/f"), "/proc/1/environ", "/sys/kernel/uevent_seqnum"] {
            let said = cp(&format!("{id}:{path}"), "-").failed();
            // The kernel's own links (`/proc/1/root`) are none that may be followed.
            assert!(
                ["Could not find the file", "No such container:path", "too many levels of symbolic links"].iter().any(|words| said.contains(words)),
                "{path}: {said}"
            );
        }
        for path in ["/l/abs/deep/", "/l/rel/deep", "/l/proc/deep/g", "/l/sysctl/core_pattern", "/proc/sys/kernel/core_pattern", "/l/sysctl/"] {
            let said = cp(&local, &format!("{id}:{path}")).failed();
            assert!(!said.contains("panic"), "{path}: {said}");
        }
        // Once the folder is there in the container, the link leads to that one.
        sh(&node, &id, &format!("mkdir -p {outside}/deep && echo mine > {outside}/deep/f"));
        assert!(cp(&format!("{id}:/l/abs/deep/f"), "-").ok().contains("mine"));
        cp(&local, &format!("{id}:/l/rel/deep/in")).ok();
        assert_eq!(sh(&node, &id, &format!("cat {outside}/deep/in; rm -r /{}", outside.split('/').nth(1).unwrap_or_default())), "from the user");
    }
    assert_eq!(std::fs::read_dir(node_folder.join("deep")).expect("it is there").count(), 1);
    assert_eq!(std::fs::read(node_folder.join("deep/f")).expect("it is there"), b"secret of the node");
    assert!(!std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("procfs is there").contains("from the user"));
}

/// A program of the container exchanges a folder with a link all the time.
#[test]
fn a_container_that_moves_links_meanwhile_gains_nothing() {
    if !is_root() {
        return;
    }
    let node = node();
    let id = container(&node, "box", &[]);
    let outside = node.folder().join("host");
    std::fs::create_dir_all(&outside).expect("the folder is ours");
    std::fs::write(outside.join("f"), "secret of the node").expect("the folder is ours");
    let script = format!(
        "mkdir /r && cd /r && mkdir d && echo mine > d/f && ln -s {} l && while test ! -e /stop; do busybox mv d t; busybox mv l d; busybox mv d l; busybox mv t d; done",
        outside.display()
    );
    node.wsw(&["exec", "-d", &id, "busybox", "sh", "-c", &script]).ok();
    until("the folder", || node.wsw(&["exec", &id, "cat", "/r/d/f"]).out.contains("mine").then_some(()).ok_or_else(|| "not yet".into()));
    let local = node.folder().join("f");
    std::fs::write(&local, "from the user").expect("the folder is ours");
    for _ in 0..40 {
        let read = node.wsw(&["cp", &format!("{id}:/r/d/f"), "-"]);
        assert!(!read.out.contains("secret"), "{read}");
        let _ = node.wsw(&["cp", &local.to_string_lossy(), &format!("{id}:/r/d/f")]);
        let whole = node.wsw(&["cp", &format!("{id}:/r"), "-"]);
        assert!(!whole.out.contains("secret"), "{whole}");
    }
    sh(&node, &id, "echo > /stop");
    until("the folder to stay", || {
        let read = node.wsw(&["cp", &format!("{id}:/r/d/f"), "-"]);
        if read.out.contains("mine") || read.out.contains("from the user") { Ok(()) } else { Err(read.to_string()) }
    });
    assert_eq!(std::fs::read(outside.join("f")).expect("it is there"), b"secret of the node");
    assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 1);
}

#[test]
fn pipes_and_devices_are_never_opened() {
    if !is_root() {
        return;
    }
    let node = node();
    let id = container(&node, "box", &[]);
    sh(&node, &id, "mkdir /p && cd /p && busybox mkfifo pipe && busybox mknod mem c 1 1 && busybox mknod disk b 8 0 && echo f > f");
    let local = node.folder().join("local");
    std::fs::write(&local, "file").expect("the folder is ours");
    for (number, client) in clients().iter().enumerate() {
        let to = node.folder().join(format!("to{number}"));
        // It comes to its end although nobody writes to the pipe.
        run(&mut node.client(client, &["cp", &format!("{id}:/p"), &to.to_string_lossy()])).ok();
        assert_eq!(std::fs::read(to.join("f")).expect("it came"), b"f\n");
        let said = run(&mut node.client(client, &["cp", &local.to_string_lossy(), &format!("{id}:/p/mem")])).failed();
        assert!(said.contains("got a device"), "{said}");
        sh(&node, &id, "busybox mkfifo /p/new");
        run(&mut node.client(client, &["cp", &local.to_string_lossy(), &format!("{id}:/p/new")])).ok();
        assert_eq!(sh(&node, &id, "cat /p/new; rm /p/new"), "file", "a file took the pipe's place");
    }
    // All of it, without what the kernel shows there.
    let whole = run(&mut node.client(&clients()[0], &["cp", &format!("{id}:/"), &node.folder().join("whole").to_string_lossy()]));
    assert_eq!(whole.code, 0, "{whole}");
    let whole = node.folder().join("whole");
    let count = |path: &str| std::fs::read_dir(whole.join(path)).expect("a folder").count();
    assert_eq!((count("proc"), count("sys"), count("dev")), (0, 0, 0));
    assert!(whole.join("bin/busybox").exists() && whole.join("p/f").exists());
}

#[test]
fn what_is_read_only_is_not_written_to() {
    if !is_root() {
        return;
    }
    let node = node();
    let mounts = [
        "--read-only",
        "--mount",
        "type=volume,source=data,target=/v",
        "--mount",
        "type=volume,source=kept,target=/w,readonly",
        "--mount",
        "type=tmpfs,target=/t",
    ];
    let id = container(&node, "box", &mounts);
    let local = node.folder().join("local");
    std::fs::create_dir_all(local.join("w")).expect("the folder is ours");
    std::fs::write(local.join("w/f"), "file").expect("the folder is ours");
    for client in &clients() {
        let cp = |from: &Path, to: &str| run(&mut node.client(client, &["cp", &from.to_string_lossy(), &format!("{id}:{to}")]));
        for (to, said) in
            [("/www", "container rootfs is marked read-only"), ("/w", "mounted volume is marked read-only"), ("/w/x", "mounted volume is marked read-only")]
        {
            let refused = cp(&local.join("w/f"), to).failed();
            assert!(refused.contains(&format!("Error response from daemon: {said}")), "{to}: {refused}");
        }
        for to in ["/v", "/t"] {
            cp(&local.join("w/f"), to).ok();
            assert_eq!(sh(&node, &id, &format!("cat {to}/f; rm {to}/f")), "file");
        }
    }
    // A mount within what is unpacked.
    let refused = run(node.client(&clients()[0], &["cp", "-", &format!("{id}:/")]).stdin(Stdio::null())).failed();
    assert!(refused.contains("container rootfs is marked read-only"), "{refused}");
}

/// Bytes of memory of the daemon.
fn memory(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") << 10
}

#[test]
fn large_trees_and_files_take_no_memory() {
    if !is_root() {
        return;
    }
    let node = node();
    let id = container(&node, "box", &[]);
    sh(
        &node,
        &id,
        "mkdir /big && cd /big && busybox truncate -s 400M zeros && for a in 1 2 3 4 5 6 7 8; do mkdir $a; for b in $(busybox seq 250); do : > $a/$b; done; done",
    );
    let before = memory(&node);
    let mut child = node.client(&clients()[0], &["cp", &format!("{id}:/big"), "-"]).stdout(Stdio::piped()).spawn().expect("the client starts");
    let (mut out, mut piece, mut total) = (child.stdout.take().expect("it is piped"), vec![0; 1 << 20], 0_u64);
    loop {
        match out.read(&mut piece).expect("it is a pipe") {
            0 => break,
            read => total += read as u64,
        }
    }
    assert!(child.wait().expect("it is ours").success() && total > 400 << 20, "{total} bytes");
    let grown = memory(&node).saturating_sub(before);
    assert!(grown < 64 << 20, "the daemon grew by {grown} bytes");
    // A client that leaves in the middle leaves nothing behind: the next copy is served.
    for _ in 0..3 {
        let mut child = node.client(&clients()[0], &["cp", &format!("{id}:/big"), "-"]).stdout(Stdio::piped()).spawn().expect("the client starts");
        child.stdout.take().expect("it is piped").read_exact(&mut piece).expect("it is a pipe");
        child.kill().and_then(|()| child.wait()).expect("it is ours");
    }
    assert_eq!(node.wsw(&["cp", &format!("{id}:/big/1"), &node.folder().join("one").to_string_lossy()]).code, 0);
    assert_eq!(std::fs::read_dir(node.folder().join("one")).expect("it came").count(), 250);
}

#[test]
fn what_cannot_be_copied_is_said() {
    if !is_root() {
        return;
    }
    let node = node();
    let id = container(&node, "box", &[]);
    node.wsw(&["service", "create", "--name", "tick", &guest("tick").to_string_lossy()]).ok();
    let tick = node.wsw(&["ps", "-q", "--filter", "name=tick."]).ok().trim().to_owned();
    let ask = |method: &str, path: &str, body: &[u8]| harness::over_unix(&node.socket(), method, path, body).expect("the daemon answers");
    for (method, path, body, status, said) in [
        ("GET", format!("/containers/{id}/archive"), &b""[..], 400, "path cannot be empty"),
        ("GET", format!("/containers/{id}/archive?path=%00"), b"", 400, "NUL"),
        ("GET", format!("/containers/{id}/archive?path=/etc/passwd/"), b"", 500, "lstat /etc/passwd/: not a directory"),
        ("GET", "/containers/nosuch/archive?path=/".into(), b"", 404, "No such container: nosuch"),
        ("GET", format!("/containers/{tick}/archive?path=/"), b"", 501, "a Wasm task has no file system of its own"),
        ("PUT", format!("/containers/{tick}/archive?path=/"), b"", 501, "a Wasm task has no file system of its own"),
        ("PUT", format!("/containers/{id}/archive?path=/nope"), b"", 404, "Could not find the file /nope in container"),
        ("PUT", format!("/containers/{id}/archive?path=/etc/passwd"), b"", 400, "extraction point is not a directory"),
        ("PUT", format!("/containers/{id}/archive?path=/tmp"), &[b'x'; 700], 400, "archive: cannot be read"),
        ("PUT", "/containers/nosuch/archive?path=/".into(), &[0; 4096], 404, "No such container: nosuch"),
    ] {
        let answer = ask(method, &path, body);
        assert!(answer.status == status && answer.body.contains(said), "{method} {path}: {} {}", answer.status, answer.body);
    }
    assert_eq!(ask("HEAD", &format!("/containers/{id}/archive?path=/nope"), b"").status, 404);
    node.wsw(&["service", "update", "--args", "true", "--restart-condition", "none", "--detach", "box"]).ok();
    until("the container to end", || match node.wsw(&["ps", "-q", "--no-trunc", "--filter", "name=box."]).ok().trim() {
        "" => Ok(()),
        other => Err(other.to_owned()),
    });
    for client in &clients() {
        let said = run(&mut node.client(client, &["cp", &format!("{id}:/etc"), "-"])).failed();
        assert!(said.contains("is not running"), "{said}");
    }
}
