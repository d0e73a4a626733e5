//! Generic resources of a node: what is left of them, and which ones a task is given.
//!
//! Owns: claiming and the check that a claim still holds (SwarmKit's `genericresource`). A task asks for a number of a kind; from a node that
//! names its resources it gets the first free names, in the node's order.
//! Invariant: nothing is given twice, and never more than the node says that it has.

use crate::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use wsw_api::generic::{GenericReservation, GenericResource};
use wsw_api::object::Node;

/// What a task is given.
pub(super) type Claim = Arc<[GenericResource]>;

/// What is left of one kind.
#[derive(Debug, Clone)]
enum Left<'a> {
    Number(u64),
    Names(Vec<&'a str>),
}

/// What is left on a node, by kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Free<'a>(BTreeMap<&'a str, Left<'a>>);

impl<'a> Free<'a> {
    /// All that the node says it has.
    pub(super) fn all(node: &'a Node) -> Self {
        let mut free = Self::default();
        for resource in &node.description.generic {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    free.0.insert(kind, Left::Number(*value));
                }
                GenericResource::Named { kind, name } => match free.0.entry(kind).or_insert_with(|| Left::Names(Vec::new())) {
                    Left::Names(names) => names.push(name),
                    // The daemon refuses both of one kind; what a node says first counts.
                    Left::Number(_) => {}
                },
            }
        }
        free
    }

    /// What the node's tasks leave: those that are there and have not ended.
    pub(super) fn on(view: &'a Store, node: &'a Node) -> Self {
        let mut free = Self::all(node);
        if view.load(&node.id).claiming > 0 {
            let live = view.tasks_on_node(&node.id).filter(|task| task.is_placed() && task.status.state.is_live());
            live.filter_map(|task| task.claims.as_ref()).for_each(|claim| _ = free.take(claim));
        }
        free
    }

    /// Takes what a task was given; false, and as much as there is, when the node does not have all of it any more.
    pub(super) fn take(&mut self, claim: &[GenericResource]) -> bool {
        let mut whole = true;
        for resource in claim {
            whole &= match (resource, self.0.get_mut(resource.kind())) {
                (GenericResource::Discrete { value, .. }, Some(Left::Number(left))) => {
                    let enough = *value <= *left;
                    *left = left.saturating_sub(*value);
                    enough
                }
                (GenericResource::Named { name, .. }, Some(Left::Names(names))) => {
                    let before = names.len();
                    names.retain(|free| free != name);
                    names.len() < before
                }
                _ => false,
            };
        }
        whole
    }

    /// Whether a task that reserves this fits.
    pub(super) fn has(&self, wants: &[GenericReservation]) -> bool {
        wants.iter().all(|want| {
            // A kind may be reserved twice: both count.
            let wanted = wants.iter().filter(|other| other.kind == want.kind).map(|other| other.value).fold(0, u64::saturating_add);
            match self.0.get(want.kind.as_str()) {
                Some(Left::Number(left)) => wanted <= *left,
                Some(Left::Names(names)) => wanted <= u64::try_from(names.len()).unwrap_or(u64::MAX),
                None => wanted == 0,
            }
        })
    }

    /// Takes what a task that reserves this is given; none when it does not fit or reserves nothing.
    pub(super) fn claim(&mut self, wants: &[GenericReservation]) -> Option<Claim> {
        if wants.is_empty() || !self.has(wants) {
            return None;
        }
        let mut claim = Vec::new();
        for GenericReservation { kind, value } in wants.iter().filter(|want| want.value > 0) {
            match self.0.get_mut(kind.as_str()) {
                Some(Left::Number(left)) => {
                    *left = left.saturating_sub(*value);
                    claim.push(GenericResource::Discrete { kind: kind.clone(), value: *value });
                }
                Some(Left::Names(names)) => {
                    let count = usize::try_from(*value).unwrap_or(usize::MAX).min(names.len());
                    claim.extend(names.drain(..count).map(|name| GenericResource::Named { kind: kind.clone(), name: name.to_owned() }));
                }
                None => {}
            }
        }
        (!claim.is_empty()).then(|| claim.into())
    }
}
