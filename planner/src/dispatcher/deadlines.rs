//! Deadlines: when silence of a node means that it is down.
//!
//! Owns: one deadline per node that is expected to speak. A judgement that comes late (the leader itself was stalled) moves all
//! deadlines; when many nodes are silent at once, the network is the likelier cause, so they become unknown first and go down
//! one after the other.

use super::Heartbeat;
use std::collections::{BTreeMap, BTreeSet};
use wsw_api::id::NodeId;
use wsw_api::object::NodeState;
use wsw_api::time::{MILLISECOND, Nanos, Time};

/// At least so many silent nodes, and over a third of all, count as a common cause.
const COMMON_CAUSE: usize = 3;
/// With a common cause, one node at most goes down per this time: each brings about replacements elsewhere.
const DOWN_EVERY: Nanos = 100 * MILLISECOND;

/// What a deadline is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The node has a session and says nothing.
    Silent,
    /// It was silent together with many others.
    Suspect,
    /// The leader is new, or the node; it has not come (back) yet.
    NewLeader,
    /// It said that it restarts.
    Restarting,
}

impl Why {
    /// SwarmKit's words where it has any.
    fn message(self) -> &'static str {
        match self {
            Self::Silent | Self::Suspect => "heartbeat failure",
            Self::NewLeader => "heartbeat failure for node in \"unknown\" state",
            Self::Restarting => "node did not come back from its restart",
        }
    }
}

/// All deadlines.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_node: BTreeMap<NodeId, (Time, Why)>,
    queue: BTreeSet<(Time, NodeId)>,
}

impl Deadlines {
    pub(super) fn set(&mut self, node: NodeId, at: Time, why: Why) {
        if let Some((old, _)) = self.by_node.insert(node, (at, why)) {
            self.queue.remove(&(old, node));
        }
        self.queue.insert((at, node));
    }

    pub(super) fn clear(&mut self, node: &NodeId) {
        if let Some((old, _)) = self.by_node.remove(node) {
            self.queue.remove(&(old, *node));
        }
    }

    pub(super) fn has(&self, node: &NodeId) -> bool {
        self.by_node.contains_key(node)
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The nodes whose deadline has passed, with what they are now.
    pub(super) fn judge(&mut self, now: Time, heartbeat: &Heartbeat, nodes: usize) -> Vec<(NodeId, NodeState, &'static str)> {
        let late = self.first().map_or(0, |first| now.since(first));
        if late > heartbeat.period {
            self.postpone(late.saturating_add(heartbeat.period));
            return Vec::new();
        }
        let due: Vec<(NodeId, Why)> = self.queue.iter().take_while(|(at, _)| *at <= now).filter_map(|(_, id)| Some((*id, self.by_node.get(id)?.1))).collect();
        let silent = due.iter().filter(|(_, why)| *why == Why::Silent).count();
        let common = silent >= COMMON_CAUSE && silent.saturating_mul(3) > nodes;
        let mut suspects: Nanos = 0;
        let mut judged = Vec::with_capacity(due.len());
        for (id, why) in due {
            if common && why == Why::Silent {
                self.set(id, now.after(heartbeat.timeout()).after(suspects * DOWN_EVERY), Why::Suspect);
                suspects += 1;
                judged.push((id, NodeState::Unknown, "silent together with many other nodes"));
            } else {
                self.clear(&id);
                judged.push((id, NodeState::Down, why.message()));
            }
        }
        judged
    }

    fn postpone(&mut self, by: Nanos) {
        self.queue.clear();
        for (id, (at, _)) in &mut self.by_node {
            *at = at.after(by);
            self.queue.insert((*at, *id));
        }
    }
}
