//! The first step of balancing: in which order the nodes are asked to take a connection. A pure function.
//!
//! Invariants: over many turns a node is first as often as its part of the running tasks says, and the turns of two nodes alternate instead
//! of coming in runs; a node that did not answer a moment ago comes after all others; this node comes last when its own tasks are not in the
//! row, since it knows of them sooner than the leader does.

use wsw_api::NodeId;

/// Nodes that are asked for one connection: each that says no costs a round trip, each that is dead a time-out.
const MAX_ASKED: usize = 8;
/// 2^64 / golden ratio: multiples of it are spread evenly over the numbers of 64 bits, however few or many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The nodes to ask, best first.
pub fn order(row: &[(NodeId, u32)], own: NodeId, turn: u64, is_aside: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let mut left: Vec<(NodeId, u32)> = row.iter().copied().filter(|(_, running)| *running > 0).collect();
    let (mut order, mut aside) = (Vec::with_capacity(left.len().min(MAX_ASKED) + 1), Vec::new());
    let point = turn.wrapping_mul(GOLDEN);
    while order.len() + aside.len() < MAX_ASKED
        && let Some(at) = pick(&left, point)
    {
        let (node, _) = left.remove(at);
        if is_aside(node) { aside.push(node) } else { order.push(node) }
    }
    order.append(&mut aside);
    if !order.contains(&own) {
        order.push(own);
    }
    order
}

/// The node in whose part of all tasks the point lies.
fn pick(row: &[(NodeId, u32)], point: u64) -> Option<usize> {
    let total: u64 = row.iter().map(|(_, running)| u64::from(*running)).sum();
    let mut rest = u64::try_from((u128::from(point) * u128::from(total)) >> 64).unwrap_or(0);
    row.iter().position(|(_, running)| match rest.checked_sub(u64::from(*running)) {
        Some(left) => {
            rest = left;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::node_id;

    fn firsts(row: &[(NodeId, u32)], turns: u64) -> Vec<NodeId> {
        (0..turns).map(|turn| order(row, node_id(9), turn, |_| false)[0]).collect()
    }

    #[test]
    fn turns_follow_the_number_of_running_tasks() {
        let row = [(node_id(1), 6), (node_id(2), 3), (node_id(3), 1), (node_id(4), 0)];
        let firsts = firsts(&row, 1_000);
        let counts = [1, 2, 3, 4].map(|n| firsts.iter().filter(|first| **first == node_id(n)).count());
        for (count, wanted) in counts.into_iter().zip([600_usize, 300, 100, 0]) {
            assert!(count.abs_diff(wanted) <= 3, "{counts:?}");
        }
    }

    #[test]
    fn turns_of_two_nodes_alternate() {
        let firsts = firsts(&[(node_id(1), 50), (node_id(2), 50)], 100);
        let longest = firsts.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        assert!(longest <= Some(2), "{longest:?}");
    }

    #[test]
    fn all_are_asked_and_those_aside_last() {
        let row = [(node_id(1), 5), (node_id(2), 1), (node_id(3), 1)];
        for turn in 0..20 {
            let order = order(&row, node_id(2), turn, |node| node == node_id(1));
            assert_eq!((order.len(), order[2]), (3, node_id(1)));
        }
    }

    #[test]
    fn this_node_is_asked_although_the_leader_does_not_know_yet() {
        assert_eq!(order(&[], node_id(2), 7, |_| false), [node_id(2)]);
        assert_eq!(order(&[(node_id(1), 1)], node_id(2), 7, |_| false), [node_id(1), node_id(2)]);
        let many: Vec<_> = (10..60).map(|n| (node_id(n), 1)).collect();
        assert_eq!(order(&many, node_id(2), 7, |_| true).len(), MAX_ASKED + 1);
    }
}
