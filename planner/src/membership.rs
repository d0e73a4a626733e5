//! Who belongs to Raft: one step at a time from what is to what the state asks for.
//!
//! Owns: the order of the steps. The state says who is to be a manager (the node's role) and with which Raft id (its manager record);
//! Raft says who is. Invariants: a manager learns before it votes, and votes once it has caught up and is heard; a leader that is to go hands
//! over first; a node keeps its manager record until it is out of Raft. Never: carries a step out (`manager`).

use crate::Store;
use std::collections::{BTreeMap, BTreeSet};
use wsw_api::id::NodeId;
use wsw_api::object::Node;
use wsw_api::spec::NodeRole;

/// What the leader sees of Raft.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The leader itself.
    pub own: u64,
    pub voters: BTreeSet<u64>,
    pub learners: BTreeSet<u64>,
    /// A change of voters is half done.
    pub joint: bool,
    /// Members that answer, the leader among them.
    pub heard: BTreeSet<u64>,
    /// Members that have nearly all of the log.
    pub caught_up: BTreeSet<u64>,
    /// The leader has no room for more of the log.
    pub full: bool,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Finish the change of an earlier leader.
    Settle,
    /// A manager with this address begins to learn.
    Learn(u64, String),
    /// A learner becomes a voter.
    Promote(u64),
    /// A voter leaves.
    Dismiss(u64),
    /// A learner leaves.
    Forget(u64),
    /// The leader, which is to leave or has a full disk, makes this one lead.
    HandOver(u64),
    /// The node is out of Raft: its manager record goes.
    Clear(NodeId),
}

/// The next step, if anything is to be done and can be done now.
pub fn next(view: &Store, seen: &Seen) -> Option<Step> {
    // It can write nothing, a change of members neither; another one can.
    if seen.full {
        return heir(seen, |_| true).map(Step::HandOver);
    }
    if seen.joint {
        return Some(Step::Settle);
    }
    let wanted: BTreeMap<u64, &Node> = wanted(view).collect();
    if let Some(id) = seen.learners.iter().find(|id| !wanted.contains_key(id)) {
        return Some(Step::Forget(*id));
    }
    let cleared = view.nodes().find(|node| {
        let record = node.manager.as_ref().filter(|_| node.spec.role == NodeRole::Worker);
        record.is_some_and(|record| !seen.voters.contains(&record.raft_id) && !seen.learners.contains(&record.raft_id))
    });
    if let Some(node) = cleared {
        return Some(Step::Clear(node.id));
    }
    if let Some(id) = seen.voters.iter().find(|id| **id != seen.own && !wanted.contains_key(id)) {
        return Some(Step::Dismiss(*id));
    }
    if let Some((id, node)) = wanted.iter().find(|(id, _)| !seen.voters.contains(id) && !seen.learners.contains(id)) {
        return Some(Step::Learn(*id, node.manager.as_ref().map(|record| record.addr.clone()).unwrap_or_default()));
    }
    if let Some(id) = seen.learners.iter().find(|id| seen.caught_up.contains(id) && seen.heard.contains(id)) {
        return Some(Step::Promote(*id));
    }
    if !wanted.contains_key(&seen.own) {
        return heir(seen, |id| wanted.contains_key(&id)).map(Step::HandOver);
    }
    None
}

/// Who leads best after the leader: a voter that is heard and has the log.
pub fn heir(seen: &Seen, may: impl Fn(u64) -> bool) -> Option<u64> {
    seen.voters.iter().copied().find(|id| *id != seen.own && seen.heard.contains(id) && seen.caught_up.contains(id) && may(*id))
}

/// Whether Raft still has a quorum of voters that are heard when this one is gone (SwarmKit's `CanRemoveMember`).
pub fn can_lose(seen: &Seen, raft_id: u64) -> bool {
    let left = seen.voters.iter().filter(|id| **id != raft_id);
    let heard = left.clone().filter(|id| seen.heard.contains(id)).count();
    let count = left.count();
    count > 0 && heard > count / 2
}

fn wanted(view: &Store) -> impl Iterator<Item = (u64, &Node)> {
    view.nodes().filter(|node| node.spec.role == NodeRole::Manager).filter_map(|node| Some((node.manager.as_ref()?.raft_id, &**node)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{World, node_id};
    use wsw_api::entry::Change;
    use wsw_api::object::ManagerStatus;

    /// Nodes 1 to `count`; those of `managers` are managers, with ten times the node's number as Raft id.
    fn state(count: u64, managers: &[u64], records: &[u64]) -> Store {
        let mut world = World::new(count);
        for number in 1..=count {
            world.set_node(number, |node| {
                node.spec.role = if managers.contains(&number) { NodeRole::Manager } else { NodeRole::Worker };
                node.manager = records.contains(&number).then(|| ManagerStatus { raft_id: number * 10, addr: format!("10.0.0.{number}:2377") });
            });
        }
        world.store
    }

    fn seen(voters: &[u64], learners: &[u64], heard: &[u64]) -> Seen {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
        Seen { own: 10, voters: set(voters), learners: set(learners), joint: false, heard: set(heard), caught_up: set(heard), full: false }
    }

    #[test]
    fn a_manager_learns_then_votes() {
        let view = state(2, &[1, 2], &[1, 2]);
        assert_eq!(next(&view, &seen(&[10], &[], &[10])), Some(Step::Learn(20, "10.0.0.2:2377".into())));
        assert_eq!(next(&view, &seen(&[10], &[20], &[10])), None, "not before it is heard");
        assert_eq!(next(&view, &seen(&[10], &[20], &[10, 20])), Some(Step::Promote(20)));
        assert_eq!(next(&view, &seen(&[10, 20], &[], &[10, 20])), None);
        assert_eq!(next(&view, &Seen { joint: true, ..seen(&[10, 20], &[], &[10]) }), Some(Step::Settle));
        assert_eq!(next(&state(2, &[1, 2], &[1]), &seen(&[10], &[], &[10])), None, "one that has not said its Raft id waits");
    }

    #[test]
    fn one_that_is_demoted_leaves_and_a_leader_hands_over_first() {
        let view = state(3, &[1, 2], &[1, 2, 3]);
        assert_eq!(next(&view, &seen(&[10, 20, 30], &[], &[10, 20])), Some(Step::Dismiss(30)));
        assert_eq!(next(&view, &seen(&[10, 20], &[30], &[10, 20])), Some(Step::Forget(30)));
        assert_eq!(next(&view, &seen(&[10, 20], &[], &[10, 20])), Some(Step::Clear(node_id(3))));
        let view = state(3, &[2, 3], &[1, 2, 3]);
        assert_eq!(next(&view, &seen(&[10, 20, 30], &[], &[10, 30])), Some(Step::HandOver(30)));
        assert_eq!(next(&view, &seen(&[10, 20, 30], &[], &[10])), None, "nobody is there to take over");
        let full = |heard: &[u64]| Seen { full: true, joint: true, ..seen(&[10, 20, 30], &[], heard) };
        assert_eq!(next(&view, &full(&[10, 20])), Some(Step::HandOver(20)), "whatever else is to be done");
        assert_eq!(next(&view, &full(&[10])), None, "it waits for room");
    }

    #[test]
    fn a_manager_that_lost_its_folder_comes_back_with_another_id() {
        let mut view = state(3, &[1, 2, 3], &[1, 2, 3]);
        let mut node = (**view.node(&node_id(3)).unwrap()).clone();
        node.manager = Some(ManagerStatus { raft_id: 31, addr: "10.0.0.3:2377".into() });
        view.apply(99, &wsw_api::entry::Entry { changes: vec![Change::PutNode(Box::new(node))], ..Default::default() });
        assert_eq!(next(&view, &seen(&[10, 20, 30], &[], &[10, 20])), Some(Step::Dismiss(30)));
        assert_eq!(next(&view, &seen(&[10, 20], &[], &[10, 20])), Some(Step::Learn(31, "10.0.0.3:2377".into())));
    }

    #[test]
    fn a_quorum_is_kept() {
        assert!(can_lose(&seen(&[10, 20, 30], &[], &[10, 20, 30]), 30));
        assert!(can_lose(&seen(&[10, 20, 30], &[], &[10, 20]), 30), "the one that is dead may go");
        assert!(!can_lose(&seen(&[10, 20, 30], &[], &[10, 20]), 20), "one of two that are left is dead");
        assert!(can_lose(&seen(&[10, 20], &[], &[10, 20]), 20));
        assert!(!can_lose(&seen(&[10], &[], &[10]), 10));
    }
}
