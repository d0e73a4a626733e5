//! `wsw up` and `wsw down`: a daemon in the background and a swarm of one, for a laptop.
//!
//! The daemon is started in a session of its own, so that it outlives the shell. Tasks outlive the daemon: `down` says so, and
//! `down --all` ends them first by leaving the swarm.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::Value;
use tokio::net::UnixStream;

use super::{
    Session,
    args::{Flag, Matches, Outcome, parse},
    client::Host,
    commands,
    errors::Error,
    output, swarm,
    task::text,
};
use crate::daemon::Paths;

const LOCAL: &str = "127.0.0.1:2377";
/// A daemon that does not answer by then has a reason that its log tells.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A daemon that does not end by then is stuck; nothing is killed behind the user's back.
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PACE: Duration = Duration::from_millis(20);
/// So much of the log's end is shown when the daemon does not come up.
const LOG_TAIL: u64 = 2048;

pub const UP: &[Flag] = &[
    Flag::string(
        "advertise-addr",
        "Address that other nodes reach this one at (default the listen address); a loopback address publishes ports on loopback only",
    ),
    Flag::string("data-root", "Root directory of persistent state"),
    Flag::string("exec-root", "Root directory for execution state: bundles and sockets"),
    Flag::string("listen-addr", "Address of node-to-node traffic").default(LOCAL),
    Flag::string("log-level", "Logging level of the daemon (\"debug\", \"info\", \"warn\", \"error\")").default("info"),
    Flag::string("pidfile", "Path to use for the daemon's PID file").short('p'),
];

pub const DOWN: &[Flag] =
    &[Flag::boolean("all", "Leave the swarm first, so that its tasks end too").short('a'), Flag::boolean("force", "The same as --all").short('f')];

/// Below the options of `up`.
pub const UP_DETAILS: &str = "\
Starts \"wsw daemon\" in a session of its own unless one answers, waits until it is ready (30 s at
most), and makes a swarm of this node unless it is part of one. Running it again changes nothing.
By default the swarm listens on loopback, so published ports are open to this machine only;
--listen-addr 0.0.0.0:2377 opens them to all.

Files:
  daemon.log in the data root   what the daemon says; its end is shown when it does not come up
  \"wsw help files\"             the default folders

Exit codes:
  0    the daemon answers and the node is part of a swarm
  1    it did not come up; the message says why
  125  a flag that is unknown or has a bad value

Examples:
  wsw up
  wsw up --listen-addr 0.0.0.0:2377 --advertise-addr 192.0.2.7
  wsw -H unix:///tmp/w/wsw.sock up --data-root /tmp/w/data --exec-root /tmp/w/run";

/// Below the options of `down`.
pub const DOWN_DETAILS: &str = "\
Stops the daemon with SIGTERM and waits until it is gone (30 s at most; nothing is killed by force).
Tasks go on and the next \"wsw up\" finds them. With --all the node leaves its swarm first: tasks end,
services and their state are removed; images stay.

Exit codes:
  0    no daemon runs any more
  1    it did not stop; the message says why
  125  a flag that is unknown or has a bad value

Examples:
  wsw down
  wsw down --all";

/// `wsw -H … daemon`: the daemon's flags belong behind the word.
pub async fn misplaced_daemon(_: Session, _: Matches) -> Result<(), Error> {
    Err(Error::plain("the daemon takes its flags behind the word: wsw daemon -H unix:///path/to.sock"))
}

/// The socket that client and daemon use when nothing is said.
pub fn default_socket() -> Result<PathBuf, Error> {
    // The data root plays no part in the socket's path; naming one keeps a missing HOME out of it.
    Paths::resolve(None, Some("/".into()), None, None).map(|paths| paths.socket).map_err(|error| Error::Plain(format!("{error:#}")))
}

fn paths(session: &Session, matches: &Matches) -> Result<Paths, Error> {
    let path = |flag: &str| matches.text(flag).map(PathBuf::from);
    Paths::resolve(Some(&session.host), path("data-root"), path("exec-root"), path("pidfile")).map_err(|error| Error::Plain(format!("{error:#}")))
}

pub async fn up(session: Session, matches: Matches) -> Result<(), Error> {
    let paths = paths(&session, &matches)?;
    let log = paths.data_root.join("daemon.log");
    let running = session.client.ping().await.is_ok();
    if !running {
        let mut child = start(&session, &matches, &paths, &log)?;
        wait_until_ready(&session, &mut child, &log).await?;
    }
    let node = make_swarm(&session, &matches).await?;
    output::print(&report(&session, &paths, &log, &node, running))
}

fn start(session: &Session, matches: &Matches, paths: &Paths, log: &Path) -> Result<Child, Error> {
    let failed = |what: &str, error: std::io::Error| Error::Plain(format!("{what}: {error}"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&paths.data_root)
        .map_err(|error| failed(&format!("cannot create {}", paths.data_root.display()), error))?;
    let file = OpenOptions::new().create(true).append(true).open(log).map_err(|error| failed(&format!("cannot open {}", log.display()), error))?;
    let copy = file.try_clone()?;
    let program = std::env::current_exe().map_err(|error| failed("cannot find the wsw program", error))?;
    let mut command = Command::new(program);
    command.args(["daemon-background", "--host", &session.host]);
    for (flag, path) in [("--data-root", &paths.data_root), ("--exec-root", &paths.exec_root), ("--pidfile", &paths.pidfile)] {
        command.arg(flag).arg(path);
    }
    let (listen, advertise) = addresses(matches);
    for (flag, value) in [("--listen-addr", listen), ("--advertise-addr", advertise), ("--log-level", matches.text_or("log-level", "info").to_owned())] {
        command.arg(flag).arg(value);
    }
    command.stdin(Stdio::null()).stdout(file).stderr(copy).current_dir("/");
    command.spawn().map_err(|error| failed("cannot start the daemon", error))
}

/// Where the daemon listens and which address it tells others: the same, unless it listens on every address.
fn addresses(matches: &Matches) -> (String, String) {
    let listen = matches.text_or("listen-addr", LOCAL);
    let advertise = match matches.text("advertise-addr") {
        Some(given) => given.to_owned(),
        None => match listen.parse::<std::net::SocketAddr>() {
            Ok(address) if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
            _ => listen.to_owned(),
        },
    };
    (listen.to_owned(), advertise)
}

async fn wait_until_ready(session: &Session, child: &mut Child, log: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if session.client.ping().await.is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            return Err(Error::Plain(format!("the daemon ended at once ({status}); the end of {}:\n{}", log.display(), tail(log))));
        }
        if Instant::now() > deadline {
            let seconds = START_LIMIT.as_secs();
            return Err(Error::Plain(format!("the daemon does not answer after {seconds} seconds; the end of {}:\n{}", log.display(), tail(log))));
        }
        tokio::time::sleep(PACE).await;
    }
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// The node's id in the swarm, which is made unless there is one.
async fn make_swarm(session: &Session, matches: &Matches) -> Result<String, Error> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let info = session.client.get("/info", &[]).await?;
        match text(&info["Swarm"]["LocalNodeState"]) {
            "inactive" => {
                let (listen, advertise) = addresses(matches);
                let words: Vec<String> = ["swarm", "init", "--listen-addr", &listen, "--advertise-addr", &advertise].map(str::to_owned).into();
                let Outcome::Run { leaf, .. } = parse(&commands::ROOT, &words)? else { return Err(Error::plain("swarm init is not a command")) };
                return swarm::create(session, &swarm::init_request(&leaf)?).await;
            }
            "pending" if Instant::now() < deadline => tokio::time::sleep(PACE).await,
            "locked" => return Err(Error::plain("the swarm is locked: use wsw swarm unlock")),
            "error" => return Err(Error::Plain(format!("the node is not well: {}", text(&info["Swarm"]["Error"])))),
            _ => return Ok(text(&info["Swarm"]["NodeID"]).to_owned()),
        }
    }
}

fn report(session: &Session, paths: &Paths, log: &Path, node: &str, running: bool) -> String {
    let state = if running { "runs already" } else { "is up" };
    let mut lines = format!("wsw {state}: node {node}\n\n  socket  {}\n", session.host);
    if !running {
        lines += &format!("  state   {}\n  log     {}\n", paths.data_root.display(), log.display());
    }
    let elsewhere = default_socket().is_ok_and(|socket| Path::new(session.host.trim_start_matches("unix://")) != socket);
    lines += "\nNext:\n";
    if elsewhere {
        lines += &format!("  export WSW_HOST={}\n", session.host);
    }
    lines += "  wsw service create --name hello -p 8080:80 ./hello.wasm\n  wsw service ls\n  wsw service scale hello=5\n  wsw service logs -f hello\n";
    lines += &format!(
        "  wsw down                (stops the daemon, tasks go on; --all ends them)\n\nThe docker CLI works too: export DOCKER_HOST={}\n",
        session.host
    );
    lines
}

pub async fn down(session: Session, matches: Matches) -> Result<(), Error> {
    let Host::Unix(socket) = session.client.host() else {
        return Err(Error::plain("wsw down stops a daemon of this machine: use -H unix:///path/to.sock"));
    };
    let Ok(stream) = UnixStream::connect(socket).await else {
        return output::line(&format!("wsw does not run at {}", session.host));
    };
    // The kernel knows who listens there; a pid file may be of a daemon that is long gone.
    let pid = stream.peer_cred()?.pid().and_then(Pid::from_raw).ok_or_else(|| Error::plain("the daemon's process is not known"))?;
    drop(stream);
    let all = matches.on("all") || matches.on("force");
    let info = session.client.get("/info", &[]).await.unwrap_or_default();
    let active = text(&info["Swarm"]["LocalNodeState"]) != "inactive";
    if all && active {
        swarm::leave_now(&session, true).await?;
        output::line("Node left the swarm.")?;
    }
    stop(pid).map_err(|error| Error::Plain(format!("the daemon (process {}) does not stop: {error}", pid.as_raw_nonzero())))?;
    output::print(&farewell(&info, all))
}

/// Asks for the end and waits for it.
fn stop(pid: Pid) -> std::io::Result<()> {
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    kill_process(pid, Signal::TERM)?;
    let limit = Timespec { tv_sec: STOP_LIMIT.as_secs() as i64, tv_nsec: 0 };
    let mut ended = [PollFd::new(&handle, PollFlags::IN)];
    match poll(&mut ended, Some(&limit))? {
        0 => Err(std::io::Error::other(format!("it still runs after {} seconds", STOP_LIMIT.as_secs()))),
        _ => Ok(()),
    }
}

fn farewell(info: &Value, all: bool) -> String {
    match info["ContainersRunning"].as_u64().unwrap_or(0) {
        count if count > 0 && !all => {
            let (tasks, go, them) = if count == 1 { ("task", "goes", "it") } else { ("tasks", "go", "them") };
            format!("wsw is down. {count} {tasks} {go} on without the daemon; wsw up takes {them} over, wsw up and wsw down --all end {them}.\n")
        }
        _ => "wsw is down.\n".into(),
    }
}
