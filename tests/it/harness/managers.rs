//! Several managers of one swarm on this machine, and a client that records what was acknowledged.

use super::cluster::Cluster;
use super::leftovers::kill;
use super::node::Node;
use super::wait::until;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The managers, in the order in which they joined, and their ids.
pub struct Managers {
    pub nodes: Vec<Node>,
    pub ids: Vec<String>,
}

/// A node as `node ls` shows it: its role's status (`Leader`, `Reachable`, `Unreachable`, or nothing for a worker).
pub type Statuses = BTreeMap<String, String>;

impl Managers {
    /// All joined, voting and ready.
    pub fn of(count: usize) -> Self {
        let first = Self::node();
        first.wsw(&["swarm", "init"]).ok();
        let mut managers = Self { ids: vec![first.id()], nodes: vec![first] };
        for _ in 1..count {
            let node = Self::node();
            managers.join(&node, "manager");
            managers.ids.push(node.id());
            managers.nodes.push(node);
        }
        managers.wait_settled(0, count);
        managers
    }

    /// A node that is in no swarm. Tests share their machine with others: a leader is given time before it counts as dead.
    pub fn node() -> Node {
        Cluster::apart_with(&["--raft-timing", "wan"])
    }

    /// Makes a node part of the swarm.
    #[track_caller]
    pub fn join(&self, node: &Node, role: &str) {
        let token = self.nodes[0].wsw(&["swarm", "join-token", "-q", role]).ok().trim().to_owned();
        let said = node.wsw(&["swarm", "join", "--token", &token, &self.nodes[0].remote()]).ok();
        assert_eq!(said, format!("This node joined a swarm as a {role}.\n"));
    }

    /// What one of them shows of all.
    pub fn statuses(&self, at: usize) -> Result<Statuses, String> {
        let listed = self.nodes[at].wsw(&["node", "ls", "--format", "{{.ID}} {{.ManagerStatus}}"]);
        if listed.code != 0 {
            return Err(listed.err);
        }
        Ok(listed.out.lines().filter_map(|line| line.split_once(' ')).map(|(id, status)| (id.to_owned(), status.to_owned())).collect())
    }

    /// Waits until one of them shows so many managers that are there, one of them leading, and all nodes ready.
    #[track_caller]
    pub fn wait_settled(&self, at: usize, count: usize) {
        until(&format!("{count} managers as node {at} sees them"), || {
            let statuses = self.statuses(at)?;
            let with = |wanted: &str| statuses.values().filter(|status| *status == wanted).count();
            let ready = self.nodes[at].json("/nodes").as_array().into_iter().flatten().all(|node| node["Status"]["State"] == "ready");
            let settled = with("Leader") == 1 && with("Reachable") == count - 1 && with("Unreachable") == 0 && ready;
            if settled { Ok(()) } else { Err(format!("{statuses:?}, all ready: {ready}")) }
        });
    }

    /// The place of the one that leads, as another says.
    #[track_caller]
    pub fn leader(&self, at: usize) -> usize {
        let id = until("somebody to lead", || {
            let statuses = self.statuses(at)?;
            statuses.iter().find(|(_, status)| *status == "Leader").map(|(id, _)| id.clone()).ok_or_else(|| format!("{statuses:?}"))
        });
        let place = self.ids.iter().position(|known| *known == id);
        place.unwrap_or_else(|| panic!("{id} leads, which is none of them"))
    }

    /// All but this one.
    pub fn others(&self, than: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| *at != than).collect()
    }

    /// Waits until a write through this one is carried out.
    #[track_caller]
    pub fn wait_writes(&self, at: usize, label: &str) {
        until("a write to be carried out", || {
            let done = self.nodes[at].wsw(&["node", "update", "--label-add", &format!("{label}=yes"), &self.ids[0]]);
            if done.code == 0 { Ok(()) } else { Err(done.err) }
        });
    }

    /// Whether one of them shows such a write.
    #[track_caller]
    pub fn shows(&self, at: usize, label: &str) -> bool {
        self.nodes[at].json(&format!("/nodes/{}", self.ids[0]))["Spec"]["Labels"][label] == "yes"
    }
}

impl Node {
    /// Holds the daemon, or lets it go on.
    pub fn hold(&self, held: bool) {
        kill(self.pid(), if held { Signal::STOP } else { Signal::CONT });
    }
}

/// Writes one service label after another, through whichever manager answers, and notes which were acknowledged.
pub struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(u64, bool)>>,
}

impl Recorder {
    /// Begins; `sockets` are asked in turn.
    pub fn start(service: &str, sockets: Vec<std::path::PathBuf>) -> Self {
        let (stop, service) = (Arc::new(AtomicBool::new(false)), service.to_owned());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut record = Vec::new();
            for number in 0_u64.. {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let socket = &sockets[(number % sockets.len() as u64) as usize];
                record.push((number, write(socket, &service, number).unwrap_or(false)));
            }
            record
        });
        Self { stop, thread }
    }

    /// Stops, and checks on a manager that every acknowledged label is there. Answers how many were acknowledged.
    #[track_caller]
    pub fn check(self, at: &Node, service: &str) -> usize {
        self.stop.store(true, Ordering::Release);
        let record = self.thread.join().expect("the recorder does not panic");
        let labels = at.json(&format!("/services/{service}"))["Spec"]["Labels"].clone();
        for (number, acknowledged) in &record {
            let found = &labels[format!("n{number}")];
            // What was not acknowledged may be there, then whole.
            assert!(found == number.to_string().as_str() || (!acknowledged && found.is_null()), "label n{number} (acknowledged: {acknowledged}): {found}");
        }
        record.iter().filter(|(_, acknowledged)| *acknowledged).count()
    }
}

/// One more label on the service; false when it was refused or nobody knows.
fn write(socket: &std::path::Path, service: &str, number: u64) -> Option<bool> {
    let found = super::http::over_unix(socket, "GET", &format!("/services/{service}"), &[]).ok().filter(|answer| answer.status == 200)?.json();
    let mut spec = found["Spec"].clone();
    spec["Labels"][format!("n{number}")] = number.to_string().into();
    let path = format!("/services/{service}/update?version={}", found["Version"]["Index"]);
    Some(super::http::over_unix(socket, "POST", &path, spec.to_string().as_bytes()).ok()?.status == 200)
}
