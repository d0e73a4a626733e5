//! The sandbox of the Wasm shim: attempts made in a guest's place, one by one, with the control run that shows that each could succeed.
//!
//! The attempts are made by `wsw wasm-shim --probe` (debug builds), which enters the very sandbox of a shim and then tries.

use crate::harness::{Node, Setup, guest, until};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A node with a running server (network `none`) and a command that publishes a port (network `inet`).
struct Ground {
    node: Node,
    /// Pid of the server's shim, and its number.
    pid: i64,
    number: String,
    /// The server's task.
    task: String,
}

impl Ground {
    fn new(ordinary_user: bool) -> Self {
        let node = Node::start_with(Setup { ordinary_user, ..Setup::default() });
        node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
        node.wsw(&["service", "create", "-d", "--name", "web", &guest("hello_http").to_string_lossy()]).ok();
        let running = node.wait_running("web", 1);
        let (task, pid) = running.into_iter().next().expect("one runs");
        let number = shims(&node).into_iter().find(|number| node.folder().join("e/wasm/x").join(number).join(&task).is_dir());
        Self { number: number.expect("some shim has its bundle"), node, pid, task }
    }

    fn wasm(&self, path: &str) -> String {
        self.node.folder().join("e/wasm").join(path).display().to_string()
    }

    fn data(&self, path: &str) -> String {
        self.node.data_root().join(path).display().to_string()
    }

    /// The user of the node's shims, by the shim that runs.
    fn shim_user(&self) -> u32 {
        status(self.pid)["Uid"].split_whitespace().next().and_then(|uid| uid.parse().ok()).expect("a number")
    }

    /// Makes the attempts as `uid` in the place of shim `number`; what became of each.
    fn probe(&self, uid: u32, number: &str, extra: &[&str], attempts: &[String]) -> BTreeMap<String, String> {
        let file = tempfile::Builder::new().prefix("probe").tempfile().expect("there is a temporary folder");
        std::fs::write(file.path(), attempts.join("\n")).expect("it is ours");
        open_to_all(file.path());
        let binary = probe_binary(self.node.folder());
        let mut command = Command::new(binary);
        command.arg("wasm-shim").args(["--socket", "/unused", "--tasks", &self.wasm(&format!("x/{number}")), "--logs", &self.data(&format!("logs/{number}"))]);
        command.args(["--code", &self.data("images/compiled"), "--probe"]).arg(file.path()).args(extra).env_clear();
        if rustix::process::geteuid().is_root() {
            command.uid(uid).gid(uid);
        }
        let output = command.output().expect("the binary starts");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("it is text");
        let outcomes: BTreeMap<_, _> = attempts.iter().cloned().zip(text.lines().map(str::to_owned)).collect();
        assert_eq!(outcomes.len(), attempts.len(), "{text}");
        outcomes
    }
}

/// The build's own folder is often closed to other users.
fn probe_binary(folder: &Path) -> PathBuf {
    let copy = folder.join("probe-wsw");
    if !copy.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_wsw"), &copy).expect("the folder is ours");
        open_to_all(&copy);
    }
    copy
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
}

fn shims(node: &Node) -> Vec<String> {
    let entries = std::fs::read_dir(node.folder().join("e/wasm/x")).expect("it is there").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn status(pid: i64) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// What a shim must never get at. Without the sandbox the daemon's own user gets at all of it (or is told that its arguments are wrong).
fn forbidden(ground: &Ground, other_task: &str) -> Vec<String> {
    let daemon = ground.node.pid();
    let mut all = vec![
        format!("list {}", ground.data("identity")),
        format!("read {}", identity_file(ground)),
        format!("list {}", ground.data("raft")),
        format!("list {}", ground.data("tasks")),
        format!("connect {}", ground.node.socket().display()),
        format!("list {other_task}"),
        format!("read {other_task}/config.json"),
        format!("write {other_task}/config.json"),
        format!("read /proc/{daemon}/environ"),
        format!("memory {daemon}"),
        format!("create {}", ground.node.folder().join("new").display()),
        format!("create {}", ground.data("images/compiled/new.cwasm")),
        format!("link {}", ground.data(&format!("logs/{}/link", ground.number))),
    ];
    for word in ["signal", "thread-signal", "pidfd", "seize", "read-memory", "limits", "own-descriptor-signal"] {
        all.push(format!("process {word} {daemon}"));
    }
    for word in ["execve", "execveat", "fork", "clone3", "mount", "umount", "unshare", "setns", "chroot", "bpf", "keyctl", "io_uring", "userfaultfd", "perf"] {
        all.push(format!("kernel {word}"));
    }
    all.extend(["handle", "socketpair", "seccomp", "dumpable"].map(|word| format!("kernel {word}")));
    all.extend(["unix", "raw", "packet", "netlink"].map(|kind| format!("socket {kind}")));
    all
}

fn identity_file(ground: &Ground) -> String {
    let mut entries = std::fs::read_dir(ground.node.data_root().join("identity")).expect("we may").flatten();
    entries.find(|entry| entry.path().is_file()).expect("it has a key").path().display().to_string()
}

const INTERNET: [&str; 3] = ["socket tcp", "socket tcp6", "socket udp"];

/// What it needs.
fn needed(ground: &Ground) -> Vec<String> {
    let own = ground.wasm(&format!("x/{}/{}", ground.number, ground.task));
    let code = std::fs::read_dir(ground.node.data_root().join("images/compiled")).expect("we may").flatten().next().expect("a module was compiled");
    vec![
        format!("read {own}/config.json"),
        // Made beforehand where the folder is root's.
        format!("{} {own}/exit.json", if Path::new(&own).join("exit.json").exists() { "write" } else { "create" }),
        format!("create {}", ground.data(&format!("logs/{}/new.log", ground.number))),
        format!("code {}", code.path().display()),
        "thread".to_owned(),
        "kernel memfd".to_owned(),
    ]
}

/// Refused by the sandbox: no permission, or no such call.
fn refused(outcome: &str) -> bool {
    [Errno::PERM, Errno::ACCESS, Errno::NOSYS].iter().any(|errno| outcome == errno.raw_os_error().to_string())
}

/// Another shim's task: the one that publishes a port shares none with the server.
fn other_task(ground: &Ground) -> (String, String) {
    let image = guest("tick");
    ground.node.wsw(&["service", "create", "-d", "--name", "listener", "-p", "0:1", &image.to_string_lossy()]).ok();
    let task = ground.node.wait_running("listener", 1).into_keys().next().expect("one runs");
    let number = shims(&ground.node).into_iter().find(|number| ground.node.folder().join("e/wasm/x").join(number).join(&task).is_dir());
    let number = number.expect("some shim has its bundle");
    assert_ne!(number, ground.number, "who needs sockets shares no shim with who needs none");
    (ground.wasm(&format!("x/{number}/{task}")), number)
}

fn check(ground: &Ground, control: u32) {
    let (other, inet) = other_task(ground);
    let forbidden = forbidden(ground, &other);
    let needed = needed(ground);
    let user = ground.shim_user();
    let network = INTERNET.map(str::to_owned);
    let every = [&forbidden[..], &network].concat();

    for (attempt, outcome) in ground.probe(user, &ground.number, &[], &every) {
        assert!(refused(&outcome), "{attempt}: {outcome}");
    }
    for (attempt, outcome) in ground.probe(user, &ground.number, &[], &needed) {
        assert_eq!(outcome, "ok", "{attempt}");
    }
    let open = ["--network", "inet"];
    for (attempt, outcome) in ground.probe(user, &inet, &open, &forbidden[forbidden.len() - 4..]) {
        assert!(refused(&outcome), "{attempt}: {outcome}");
    }
    let mut resolving = network.to_vec();
    resolving.push("read /etc/hosts".to_owned());
    for (attempt, outcome) in ground.probe(user, &inet, &open, &resolving) {
        assert_eq!(outcome, "ok", "{attempt}");
    }
    // The same attempts without the sandbox.
    let bare = ground.probe(control, &ground.number, &["--bare", "true"], &every);
    let privileged = rustix::process::geteuid().is_root() && control == 0;
    // What root alone may do, the daemon's user may not without the sandbox either.
    let roots = ["mount", "umount", "setns", "chroot", "bpf", "perf", "userfaultfd", "handle", "io_uring", "raw", "packet", "keyctl"];
    for (attempt, outcome) in bare {
        let last = attempt.split(' ').nth(1).unwrap_or_default();
        let hidden = attempt.starts_with("memory") || attempt.contains("environ") || ["seize", "read-memory", "limits"].contains(&last);
        if privileged || !(roots.contains(&last) || hidden) {
            assert!(!refused(&outcome), "without the sandbox {attempt} gives {outcome}: it shows nothing");
        }
    }
}

#[test]
fn a_taken_shim_reaches_its_own_folders_and_nothing_else() {
    let ground = Ground::new(false);
    check(&ground, 0);
}

#[test]
fn the_same_without_root_where_shim_and_daemon_are_one_user() {
    let ground = Ground::new(true);
    let user = ground.shim_user();
    assert_eq!(status(i64::from(ground.node.pid()))["Uid"].split_whitespace().next(), Some(user.to_string().as_str()));
    check(&ground, user);
}

#[test]
fn a_running_shim_is_confined_and_the_node_says_so() {
    let ground = Ground::new(false);
    let status = status(ground.pid);
    for (name, wanted) in [("Seccomp", "2"), ("NoNewPrivs", "1"), ("CapEff", "0000000000000000"), ("CapPrm", "0000000000000000"), ("Groups", "")] {
        assert_eq!(status[name], wanted, "{name}");
    }
    let session = rustix::process::getsid(rustix::process::Pid::from_raw(ground.pid as i32)).expect("it runs");
    assert_eq!(i64::from(session.as_raw_nonzero().get()), ground.pid, "a session of its own");
    let inspected = ground.node.wsw(&["node", "inspect", "self", "--format", "{{ index .Description.Engine.Labels \"wsw.wasm.isolation\" }}"]).ok();
    let info = ground.node.wsw(&["info"]).ok();
    assert!(info.contains(&format!("wsw.wasm.isolation={}", inspected.trim())), "{info}");
    let said: Vec<&str> = inspected.trim().split(", ").collect();
    assert!(said.contains(&"landlock") && said.contains(&"seccomp"), "{inspected}");
    if rustix::process::geteuid().is_root() {
        let uid = std::fs::read_to_string(ground.node.data_root().join("wasm-user")).map_or(ground.shim_user().to_string(), |text| text.trim().to_owned());
        assert_eq!(status["Uid"].split_whitespace().collect::<Vec<_>>(), vec![uid.as_str(); 4]);
        assert!(uid != "0" && said.contains(&"user"));
    }
    assert!(ground.node.log().contains(inspected.trim()), "the daemon's log says it too");
}

/// The control groups that the node made, by its own note of them.
fn groups(node: &Node) -> Vec<PathBuf> {
    let note = std::fs::read_to_string(node.folder().join("e/wasm/cgroups")).unwrap_or_default();
    note.lines().filter_map(|line| line.split_once(' ')).map(|(_, path)| PathBuf::from(path)).collect()
}

#[test]
fn a_shim_has_a_control_group_that_follows_its_tasks_and_goes_with_it() {
    let mut ground = Ground::new(false);
    let bases = groups(&ground.node);
    if bases.is_empty() {
        // No root, or a machine without writable groups: the node must not claim one.
        assert!(!ground.node.wsw(&["info"]).ok().contains(", cgroup"));
        return;
    }
    let own = format!("shim-{}", ground.number);
    for base in &bases {
        let inside = std::fs::read_to_string(base.join(&own).join("cgroup.procs")).expect("it is there");
        assert!(inside.lines().any(|line| line == ground.pid.to_string()), "{}: {inside}", base.display());
    }
    let limit = || {
        let files = bases.iter().flat_map(|base| ["memory.max", "memory.limit_in_bytes"].map(|file| base.join(&own).join(file)));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).next().map(|text| text.trim().parse::<u64>().unwrap_or(u64::MAX))
    };
    assert!(limit().is_some_and(|bytes| bytes > 1 << 60), "a task without a limit: {:?}", limit());
    ground.node.wsw(&["service", "update", "-d", "--limit-memory", "64m", "web"]).ok();
    until("the limit of a shim whose tasks all have one", || match limit() {
        Some(bytes) if bytes < 1 << 40 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    ground.node.kill();
    assert!(bases.iter().all(|base| base.join(&own).is_dir()), "it survives the daemon");
    ground.node.restart();
    ground.node.wait_running("web", 1);
    ground.node.wsw(&["service", "rm", "web"]).ok();
    // A shim that still has a task outlives the daemon, and its group with it.
    until("the task to be gone", || {
        let left = ground.node.json("/containers/json?all=1");
        if left.as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(left.to_string()) }
    });
    ground.node.terminate();
    until("the shim's group to go with it", || {
        let left: Vec<_> = bases.iter().filter(|base| base.exists()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
