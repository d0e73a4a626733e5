//! One node: a real `wsw daemon` with all its folders in a short temporary one.
//!
//! Invariant: when it is dropped, nothing of it is left: no daemon, no shim, no mount, no file. The end of its log is shown when the test failed.

use super::command::{Run, run, wait};
use super::containers::remove_containers;
use super::http::{Response, over_unix};
use super::leftovers::{kill, kill_below, remove_groups, unmount_below};
use super::net::Host;
use super::user::{give_to_ordinary_user, ordinary_user};
use super::wait::{BOUND, free_udp_port, until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How a node is started, where it differs from the usual.
#[derive(Default)]
pub struct Setup {
    /// A data root elsewhere.
    pub data_root: Option<PathBuf>,
    /// More flags for `wsw daemon`.
    pub flags: Vec<String>,
    /// Not as root, even when the tests are.
    pub ordinary_user: bool,
    /// A proxy for what is not on loopback.
    pub proxy: Option<String>,
    /// An address of its own, for a node among several; 127.0.0.1 otherwise.
    pub addr: Option<IpAddr>,
    /// The host of a test's network that it runs on; the machine itself otherwise.
    pub host: Option<Host>,
    /// It listens on all addresses of its host, and chooses by itself which one the others are told.
    pub everywhere: bool,
    /// More of the daemon's environment.
    pub env: Vec<(String, String)>,
    /// A program that becomes the daemon, with its words.
    pub prefix: Vec<String>,
}

/// A running (or killed) node.
pub struct Node {
    folder: tempfile::TempDir,
    data_root: PathBuf,
    flags: Vec<String>,
    proxy: String,
    binary: PathBuf,
    user: Option<u32>,
    addr: IpAddr,
    host: Option<Host>,
    everywhere: bool,
    env: Vec<(String, String)>,
    prefix: Vec<String>,
    udp_port: u16,
    daemon: Option<Child>,
}

impl Node {
    /// A fresh node that is in no swarm.
    pub fn start() -> Self {
        Self::start_with(Setup::default())
    }

    /// A fresh node in a swarm of its own.
    pub fn swarm() -> Self {
        let node = Self::start();
        node.wsw(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
        node
    }

    /// A node with its own settings.
    pub fn start_with(setup: Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("w").rand_bytes(5).tempdir().expect("there is a temporary folder");
        // Shims may run as another user, who has to pass through.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("it is ours");
        let data_root = setup.data_root.unwrap_or_else(|| folder.path().join("d"));
        let (binary, user) = if setup.ordinary_user { ordinary_user(folder.path()) } else { (PathBuf::from(env!("CARGO_BIN_EXE_wsw")), None) };
        if setup.ordinary_user {
            give_to_ordinary_user(folder.path());
        }
        // Nothing leaves the machine: a registry that is not on loopback is behind a proxy that nobody runs.
        let proxy = setup.proxy.unwrap_or_else(|| "http://127.0.0.1:1".into());
        let addr = setup.addr.or_else(|| setup.host.as_ref().map(|host| host.v4.into())).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (flags, host, everywhere, env, prefix, udp_port) = (setup.flags, setup.host, setup.everywhere, setup.env, setup.prefix, free_udp_port());
        let mut node = Self { folder, data_root, flags, proxy, binary, user, addr, host, everywhere, env, prefix, udp_port, daemon: None };
        node.restart();
        node
    }

    /// Where the test may put files of its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }
    /// Where other nodes reach it, and its published ports.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }
    /// Its host was given another address.
    pub fn moved(&mut self, addr: IpAddr) {
        self.addr = addr;
    }
    /// `IP:PORT` for other nodes.
    pub fn remote(&self) -> String {
        SocketAddr::new(self.addr, self.udp_port).to_string()
    }
    /// What `-H` takes.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }
    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
    /// All that the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
    /// The daemon's pid.
    pub fn pid(&self) -> i32 {
        self.daemon.as_ref().expect("the daemon runs").id() as i32
    }

    /// The daemon's command line, for tests that start a second one.
    pub fn daemon_command(&self) -> Command {
        self.daemon_beside("", self.udp_port)
    }

    /// The same data root with everything else of its own: socket, exec root and pid file have this suffix.
    pub fn daemon_beside(&self, suffix: &str, udp_port: u16) -> Command {
        let mut command = match (&self.host, self.prefix.split_first()) {
            (None, None) => Command::new(&self.binary),
            (None, Some((program, words))) => {
                let mut command = Command::new(program);
                command.args(words).arg(&self.binary);
                command
            }
            (Some(host), _) => {
                let mut command = host.enter();
                command.arg(&self.binary);
                command
            }
        };
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let path = |name: &str| self.folder.path().join(format!("{name}{suffix}"));
        command.arg("daemon").arg("-H").arg(format!("unix://{}", path("s").display())).arg("--data-root").arg(&self.data_root);
        command.arg("--exec-root").arg(path("e")).arg("--pidfile").arg(path("pid")).arg("--listen-addr").arg(self.listens(udp_port).to_string());
        command.envs(self.env.iter().map(|(name, value)| (name, value))).args(&self.flags).env_remove("WSW_HOST").env_remove("DOCKER_HOST");
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env(name, &self.proxy);
        }
        command.env("NO_PROXY", "127.0.0.1,localhost,::1").env_remove("no_proxy").env_remove("ALL_PROXY").env_remove("all_proxy");
        command
    }

    fn listens(&self, udp_port: u16) -> SocketAddr {
        match self.addr {
            IpAddr::V4(_) if self.everywhere => SocketAddr::from(([0, 0, 0, 0], udp_port)),
            IpAddr::V6(_) if self.everywhere => SocketAddr::from(([0_u16; 8], udp_port)),
            addr => SocketAddr::new(addr, udp_port),
        }
    }

    /// Starts the daemon (again) and waits until its socket answers.
    pub fn restart(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("the folder is ours");
        let errors = log.try_clone().expect("a file can be shared");
        let child = self.daemon_command().stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("the binary starts");
        self.daemon = Some(child);
        let socket = self.socket();
        until("the daemon's socket to answer", || {
            if let Some(status) = self.daemon.as_mut().expect("just started").try_wait().expect("it is our child") {
                panic!("the daemon ended with {status}");
            }
            match over_unix(&socket, "GET", "/_ping", &[]) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    /// `kill -9` of the daemon alone.
    pub fn kill(&mut self) {
        let mut child = self.daemon.take().expect("the daemon runs");
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }

    /// SIGTERM to the daemon; its exit code, once it has ended.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut child = self.daemon.take().expect("the daemon runs");
        kill(child.id() as i32, Signal::TERM);
        let status = wait(&mut child, BOUND);
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        status.expect("the daemon ends on SIGTERM").code()
    }

    /// A client program that talks to this node.
    pub fn client(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // A fixed width and an own configuration folder: neither the terminal nor the user's settings change what is printed.
        command.args(arguments).env("WSW_HOST", self.host()).env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.folder.path().join("docker"));
        command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_API_VERSION").env("COLUMNS", "200");
        command
    }

    /// Runs `wsw …` against this node.
    #[track_caller]
    pub fn wsw(&self, arguments: &[&str]) -> Run {
        run(&mut self.client(Path::new(env!("CARGO_BIN_EXE_wsw")), arguments))
    }

    /// What was told in the past, once the end is among it: clients ask for whole seconds, so the current one comes later.
    #[track_caller]
    pub fn told(&self, words: &[&str], is_whole: impl Fn(&str) -> bool) -> String {
        let words = [&["events", "--since", "1h", "--until", "0s"], words].concat();
        until("the last event", || {
            let told = self.wsw(&words).ok();
            if is_whole(&told) { Ok(told) } else { Err(told) }
        })
    }

    /// One request to the Engine API.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: &[u8]) -> Response {
        over_unix(&self.socket(), method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// `GET` of something that must be there, as JSON.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.api("GET", path, &[]);
        assert!(answer.status == 200, "GET {path}: {answer:?}");
        answer.json()
    }

    /// All tasks of a service, newest state, also the ended ones.
    #[track_caller]
    pub fn tasks(&self, service: &str) -> Vec<Value> {
        let filters = format!("%7B%22service%22%3A%7B%22{service}%22%3Atrue%7D%7D");
        self.json(&format!("/tasks?filters={filters}")).as_array().cloned().unwrap_or_default()
    }

    /// The running tasks of a service: id and the pid of the shim that runs it.
    #[track_caller]
    pub fn running(&self, service: &str) -> BTreeMap<String, i64> {
        let tasks = self.tasks(service);
        let running = tasks.iter().filter(|task| task["Status"]["State"] == "running" && task["DesiredState"] == "running");
        running.map(|task| (task["ID"].as_str().unwrap_or_default().to_owned(), task["Status"]["ContainerStatus"]["PID"].as_i64().unwrap_or(0))).collect()
    }

    /// Waits until a service has exactly `count` running tasks.
    #[track_caller]
    pub fn wait_running(&self, service: &str, count: usize) -> BTreeMap<String, i64> {
        until(&format!("{count} running tasks of {service}"), || {
            let running = self.running(service);
            if running.len() == count { Ok(running) } else { Err(format!("{} run: {}", running.len(), summary(&self.tasks(service)))) }
        })
    }

    /// Waits until some task of a service is in `state`; gives that task.
    #[track_caller]
    pub fn wait_task(&self, service: &str, state: &str) -> Value {
        until(&format!("a task of {service} to be {state}"), || {
            let tasks = self.tasks(service);
            tasks.iter().find(|task| task["Status"]["State"] == state).cloned().ok_or_else(|| summary(&tasks))
        })
    }
}

fn summary(tasks: &[Value]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks {
        let status = &task["Status"];
        *counts.entry(format!("{} {}", status["State"], status["Err"])).or_default() += 1;
    }
    format!("{counts:?}")
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        kill_below(self.folder.path());
        remove_groups(&self.folder.path().join("e"));
        remove_containers(&self.data_root);
        unmount_below(self.folder.path());
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- the end of the daemon's log\n{end}\n---");
        }
    }
}
