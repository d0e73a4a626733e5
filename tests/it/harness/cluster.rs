//! Several nodes of one swarm on this machine: real daemons, each with its own folders and its own loopback address.

use super::guests::image_tar;
use super::node::{Node, Setup};
use super::wait::until;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

/// A manager and its workers.
pub struct Cluster {
    pub manager: Node,
    pub workers: Vec<Node>,
}

/// An address that no other node of this run has, nor one of a run beside it.
fn next_addr() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    Ipv4Addr::new(127, 1 + (pid % 199) as u8, (pid / 199 % 250) as u8, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Loads an image with this guest on each of these nodes.
pub fn load_everywhere<'a>(nodes: impl IntoIterator<Item = &'a Node>, name: &str, wasm: &Path) {
    for node in nodes {
        node.wsw(&["image", "load", "-q", "-i", &image_tar(node.folder(), name, wasm).to_string_lossy()]).ok();
    }
}

impl Cluster {
    /// All joined and ready.
    pub fn of(workers: usize) -> Self {
        let manager = Self::apart();
        manager.wsw(&["swarm", "init"]).ok();
        let mut cluster = Self { manager, workers: Vec::new() };
        for _ in 0..workers {
            let worker = Self::apart();
            cluster.join(&worker);
            cluster.workers.push(worker);
        }
        cluster.wait_states(&["ready"], workers + 1);
        cluster
    }

    /// A node that is in no swarm, with an address of its own.
    pub fn apart() -> Node {
        Self::apart_with(&[])
    }

    /// The same with more flags.
    pub fn apart_with(flags: &[&str]) -> Node {
        Self::apart_of(Setup { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..Setup::default() })
    }

    /// The same with settings of its own.
    pub fn apart_of(setup: Setup) -> Node {
        Node::start_with(Setup { addr: Some(next_addr().into()), ..setup })
    }

    /// The token of a role.
    pub fn token(&self, role: &str) -> String {
        self.manager.wsw(&["swarm", "join-token", "-q", role]).ok().trim().to_owned()
    }

    /// Makes a node a worker.
    #[track_caller]
    pub fn join(&self, node: &Node) {
        let said = node.wsw(&["swarm", "join", "--token", &self.token("worker"), &self.manager.remote()]).ok();
        assert_eq!(said, "This node joined a swarm as a worker.\n");
    }

    /// Loads an image with this guest on every node.
    pub fn load_everywhere(&self, name: &str, wasm: &Path) {
        load_everywhere(self.workers.iter().chain([&self.manager]), name, wasm);
    }

    /// The nodes' states by id.
    pub fn states(&self) -> BTreeMap<String, String> {
        let nodes = self.manager.json("/nodes");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        nodes.as_array().into_iter().flatten().map(|node| (text(&node["ID"]), text(&node["Status"]["State"]))).collect()
    }

    /// Waits until so many nodes are there, each in one of these states.
    #[track_caller]
    pub fn wait_states(&self, states: &[&str], count: usize) {
        until(&format!("{count} nodes that are {states:?}"), || {
            let found = self.states();
            let right = found.len() == count && found.values().all(|state| states.contains(&state.as_str()));
            if right { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// Waits until one node is in a state.
    #[track_caller]
    pub fn wait_state(&self, id: &str, state: &str) {
        until(&format!("node {id} to be {state}"), || {
            let found = self.states();
            if found.get(id).is_some_and(|found| found == state) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// How often sessions of a node have begun with the manager.
    pub fn sessions(&self, id: &str) -> usize {
        self.manager.log().lines().filter(|line| line.contains("a worker's session begins") && line.contains(id)).count()
    }

    /// Starts the manager's daemon again, and waits until it has a session of each of these nodes: what it says of them before is old.
    #[track_caller]
    pub fn restart_manager(&mut self, ids: &[&str]) {
        let before: Vec<usize> = ids.iter().map(|id| self.sessions(id)).collect();
        self.manager.restart();
        until("the nodes' sessions to begin anew", || {
            let now: Vec<usize> = ids.iter().map(|id| self.sessions(id)).collect();
            if now.iter().zip(&before).all(|(now, before)| now > before) { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
        });
    }

    /// The running tasks of a service by node: task ids.
    pub fn placed(&self, service: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut placed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for task in self.manager.tasks(service) {
            if task["Status"]["State"] == "running" && task["DesiredState"] == "running" {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                placed.entry(text(&task["NodeID"])).or_default().insert(text(&task["ID"]));
            }
        }
        placed
    }

    /// Waits until so many tasks of a service run on each of these nodes, and none elsewhere.
    #[track_caller]
    pub fn wait_placed(&self, service: &str, wanted: &[(&str, usize)]) -> BTreeMap<String, BTreeSet<String>> {
        until(&format!("tasks of {service} as {wanted:?}"), || {
            let placed = self.placed(service);
            let total: usize = placed.values().map(BTreeSet::len).sum();
            let right = wanted.iter().all(|(node, count)| placed.get(*node).map_or(0, BTreeSet::len) == *count);
            let sum: usize = wanted.iter().map(|(_, count)| count).sum();
            if right && total == sum { Ok(placed) } else { Err(format!("{placed:?}")) }
        })
    }
}

impl Node {
    /// Its id in the swarm; empty when it is in none.
    pub fn id(&self) -> String {
        self.json("/info")["Swarm"]["NodeID"].as_str().unwrap_or_default().to_owned()
    }

    /// The tasks that really run here, as its own `docker ps` shows them: the ids of tasks.
    pub fn local(&self) -> BTreeSet<String> {
        let containers = self.json("/containers/json");
        let id = |container: &Value| container["Labels"]["com.docker.swarm.task.id"].as_str().unwrap_or_default().to_owned();
        containers.as_array().into_iter().flatten().map(id).collect()
    }
}
