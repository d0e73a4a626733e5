//! Spread: which of the nodes that fit takes the next task.
//!
//! Owns: Swarm's order (`nodeLess`: fewest tasks of the service, then fewest tasks; nodes on which the service fails come last)
//! and the tree of placement preferences, whose branches get equal shares. A heap per leaf: one placement costs O(log nodes).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// SwarmKit's `maxFailures`: from so many recent failures of a service on, a node comes last.
const MAX_FAILURES: u32 = 5;

/// A node's place in the order, the best first; the last part is its place in the table, which makes the order total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    failures: u32,
    copies: u32,
    active: u32,
    pub(super) at: usize,
}

impl Key {
    pub(super) fn new(failures: u32, copies: u32, active: u32, at: usize) -> Self {
        Self { failures: if failures < MAX_FAILURES { 0 } else { failures }, copies, active, at }
    }
}

/// Nodes that share the values of some labels.
#[derive(Debug, Default)]
pub(super) struct Branch {
    /// Tasks of the service below.
    copies: u32,
    nodes: BinaryHeap<Reverse<Key>>,
    children: BTreeMap<String, Branch>,
    /// Children in the order in which they take the next task; made when the tree is complete.
    order: BinaryHeap<Reverse<(u32, String)>>,
}

impl Branch {
    /// Adds a node below the branch that its label values lead to. A node that does not fit (no key) only counts its copies.
    pub(super) fn add(&mut self, values: &[&str], copies: u32, key: Option<Key>) {
        self.copies += copies;
        match values.split_first() {
            Some((value, rest)) => self.children.entry((*value).to_owned()).or_default().add(rest, copies, key),
            None => self.nodes.extend(key.map(Reverse)),
        }
    }

    /// Makes the tree ready for [`Branch::take`].
    pub(super) fn finish(&mut self) {
        for child in self.children.values_mut() {
            child.finish();
        }
        self.order = self.children.iter().map(|(value, child)| Reverse((child.copies, value.clone()))).collect();
    }

    /// Takes the best node. `place` counts the task and answers the node's next key while it still fits.
    pub(super) fn take(&mut self, place: &mut dyn FnMut(usize) -> Option<Key>) -> Option<usize> {
        if let Some(Reverse(key)) = self.nodes.pop() {
            self.nodes.extend(place(key.at).map(Reverse));
            return Some(key.at);
        }
        while let Some(Reverse((copies, value))) = self.order.pop() {
            let taken = self.children.get_mut(&value).and_then(|child| child.take(place));
            if taken.is_some() {
                self.order.push(Reverse((copies + 1, value)));
                return taken;
            }
        }
        None
    }
}
