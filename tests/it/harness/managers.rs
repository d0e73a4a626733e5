//! Several managers of one swarm on this machine.

use super::cluster::Cluster;
use super::leftovers::kill;
use super::net::Net;
use super::node::Node;
use super::wait::until;
use rustix::process::Signal;
use std::collections::BTreeMap;

/// The managers, in the order in which they joined, and their ids.
pub struct Managers {
    pub nodes: Vec<Node>,
    pub ids: Vec<String>,
}

/// A node as `node ls` shows it: its role's status (`Leader`, `Reachable`, `Unreachable`, or nothing for a worker).
pub type Statuses = BTreeMap<String, String>;

/// Tests share their machine with others: a leader is given time before it counts as dead.
pub const WAN: [&str; 2] = ["--raft-timing", "wan"];

impl Managers {
    /// All joined, voting and ready.
    pub fn of(count: usize) -> Self {
        Self::with(count, |_| Self::node())
    }

    /// The same on the first hosts of a network.
    pub fn on(net: &Net, count: usize) -> Self {
        Self::with(count, |at| net.node(at, &WAN))
    }

    /// The same, each made by `node`.
    pub fn with(count: usize, node: impl Fn(usize) -> Node) -> Self {
        let first = node(0);
        first.wsw(&["swarm", "init"]).ok();
        let mut managers = Self { ids: vec![first.id()], nodes: vec![first] };
        for at in 1..count {
            let node = node(at);
            managers.join(&node, "manager");
            managers.ids.push(node.id());
            managers.nodes.push(node);
        }
        managers.wait_settled(0, count);
        managers
    }

    /// A node that is in no swarm.
    pub fn node() -> Node {
        Cluster::apart_with(&WAN)
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

    /// A service that runs nowhere, for writing labels on.
    pub fn idle(&self) {
        self.nodes[0].wsw(&["service", "create", "-d", "--name", "idle", "--replicas", "0", "nothing:latest"]).ok();
    }

    /// Where each is asked.
    pub fn sockets(&self) -> Vec<std::path::PathBuf> {
        self.nodes.iter().map(Node::socket).collect()
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

    /// Waits for that: one that was cut off answers with what it has until it hears the leader again.
    #[track_caller]
    pub fn wait_shows(&self, at: usize, label: &str) {
        until(&format!("node {at} to show the write {label}"), || if self.shows(at, label) { Ok(()) } else { Err(String::new()) });
    }
}

impl Node {
    /// Holds the daemon, or lets it go on.
    pub fn hold(&self, held: bool) {
        kill(self.pid(), if held { Signal::STOP } else { Signal::CONT });
    }
}
