//! An operator: nodes join, managers are promoted and demoted.
//!
//! Owns: membership as a user asks for it, and what a node's daemon does about its role. Invariant: a manager is forgotten only once the
//! state calls its node a worker and Raft has let it go, as the daemon has it.

use crate::chance;
use crate::client::ask;
use crate::cluster::World;
use crate::history::Fate;
use crate::trace::event;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use wsw_api::control::Write;
use wsw_api::object::Node;
use wsw_api::spec::{Availability, NodeRole};
use wsw_manager::Start;

/// A cluster without faults takes a node within this.
const JOIN: Duration = Duration::from_secs(30);

/// A node joins, and is up when this returns.
pub async fn join(world: &mut World, number: usize, role: NodeRole) -> Result<(), String> {
    let (id, addr) = (world.hosts[number].node, world.hosts[number].addr);
    for _ in 0..10 {
        let write = Write::AddNode { id, role, availability: Availability::Active, hostname: format!("h{number}"), addr: addr.to_string() };
        if let Fate::Done(_) = ask(&world.common, write).await {
            event!(world.common.trace, "host {number} joins as {role:?}");
            if role == NodeRole::Manager {
                become_manager(world, number);
                enrolled(world, number).await?;
            }
            world.workers[number].start();
            return Ok(());
        }
    }
    Err(format!("host {number} cannot join"))
}

async fn enrolled(world: &World, number: usize) -> Result<(), String> {
    let node = world.hosts[number].node;
    for _ in 0..JOIN.as_millis() / 100 {
        sleep(Duration::from_millis(100)).await;
        let known = world.common.checks.newest().and_then(|store| store.node(&node).cloned());
        if known.is_some_and(|node| node.manager.is_some()) {
            return Ok(());
        }
    }
    Err(format!("the manager of host {number} is not taken"))
}

/// A node's daemon starts a manager with a new Raft id; it was told of all managers that there are.
fn become_manager(world: &mut World, number: usize) {
    let managers: Vec<_> = world.hosts.iter().filter(|host| host.raft.is_some()).map(|host| (host.node, host.addr)).collect();
    let issued = world.common.checks.newest().map(|store| store.time()).unwrap_or_default();
    let host = &mut world.hosts[number];
    (host.raft, host.known, host.issued) = (Some(chance::next() >> 11), managers, issued);
    host.start(Start::Again);
}

/// A node's role is changed by its user, one way or the other.
pub async fn change_role(world: &World) {
    let Some(store) = world.common.checks.newest() else { return };
    let nodes: Vec<Arc<Node>> = store.nodes().cloned().collect();
    let Some(node) = chance::one(&nodes) else { return };
    let mut spec = node.spec.clone();
    spec.role = if spec.role == NodeRole::Worker { NodeRole::Manager } else { NodeRole::Worker };
    let (role, host) = (spec.role, world.common.net.host_of(&node.id));
    let fate = ask(&world.common, Write::UpdateNode { id: node.id, version: node.meta.version, spec: Box::new(spec) }).await;
    event!(world.common.trace, "host {host:?} is to be a {role:?}: {fate:?}");
}

/// A node is drained, paused, or used again.
pub async fn change_availability(world: &World, back: bool) {
    let Some(store) = world.common.checks.newest() else { return };
    let nodes: Vec<Arc<Node>> = store.nodes().filter(|node| !back || node.spec.availability != Availability::Active).cloned().collect();
    let nodes = if back { nodes } else { chance::one(&nodes).into_iter().collect() };
    for node in nodes {
        let mut spec = node.spec.clone();
        let other = [Availability::Active, Availability::Pause, Availability::Drain][chance::below(3)];
        spec.availability = if back { Availability::Active } else { other };
        let fate = ask(&world.common, Write::UpdateNode { id: node.id, version: node.meta.version, spec: Box::new(spec) }).await;
        event!(world.common.trace, "availability of host {:?}: {fate:?}", world.common.net.host_of(&node.id));
    }
}

/// What the daemons do about their nodes' roles.
pub fn follow_roles(world: &mut World) {
    let Some(store) = world.common.checks.newest() else { return };
    for number in 0..world.hosts.len() {
        let host = &world.hosts[number];
        let Some(node) = store.node(&host.node) else { continue };
        match (node.spec.role, host.raft) {
            (NodeRole::Worker, Some(_)) if node.manager.is_none() => {
                event!(world.common.trace, "host {number} is no manager any more");
                world.hosts[number].forget();
            }
            (NodeRole::Manager, None) => become_manager(world, number),
            _ => {}
        }
    }
}
