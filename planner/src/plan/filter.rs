//! Filters: which nodes may take a task of a template, and why the others may not.
//!
//! Owns: the checks in Swarm's order and their explanations, word for word (tools read them).

use super::nodes::Row;
use crate::Store;
use crate::constraint::{Constraint, processor};
use wsw_api::generic::GenericReservation;
use wsw_api::labels;
use wsw_api::mount::{LOCAL_DRIVER, Mount};
use wsw_api::object::Template;
use wsw_api::spec::{Platform, Protocol, PublishMode, Resources};

/// What a node can fail by, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Ready,
    Resources,
    Plugin,
    Constraints,
    Platform,
    HostPort,
    MaxReplicas,
}

const ALL: [Filter; 7] = [Filter::Ready, Filter::Resources, Filter::Plugin, Filter::Constraints, Filter::Platform, Filter::HostPort, Filter::MaxReplicas];

/// How many nodes fail by each filter.
pub(super) type Failures = [u32; ALL.len()];

impl Filter {
    /// The words for so many nodes.
    pub(super) fn explain(self, nodes: u32) -> String {
        let counted = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        match self {
            Self::Ready => format!("{counted} not available for new tasks"),
            Self::Resources => format!("insufficient resources on {counted}"),
            Self::Plugin => format!("missing plugin on {counted}"),
            Self::Constraints => format!("scheduling constraints not satisfied on {counted}"),
            Self::Platform => format!("unsupported platform on {counted}"),
            Self::HostPort => format!("host-mode port already in use on {counted}"),
            Self::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        }
    }
}

/// "no suitable node (…)", the most frequent reason first.
pub(super) fn explain(failures: &Failures) -> String {
    let mut reasons: Vec<(u32, Filter)> = failures.iter().copied().zip(ALL).filter(|(nodes, _)| *nodes > 0).collect();
    reasons.sort_by_key(|(nodes, _)| std::cmp::Reverse(*nodes));
    let texts: Vec<String> = reasons.into_iter().map(|(nodes, filter)| filter.explain(nodes)).collect();
    if texts.is_empty() { "no suitable node".to_owned() } else { format!("no suitable node ({})", texts.join("; ")) }
}

/// The filters of one template.
pub(super) struct Pipeline<'t> {
    /// None when one does not parse: then no node satisfies them.
    constraints: Option<Vec<Constraint>>,
    /// Kind and name of what the node must have, beyond what every node has.
    plugins: Vec<(&'static str, &'t str)>,
    platforms: &'t [Platform],
    max_replicas: u64,
    pub(super) wants: Resources,
    pub(super) generic: &'t [GenericReservation],
    pub(super) host_ports: Vec<(Protocol, u16)>,
}

impl<'t> Pipeline<'t> {
    pub(super) fn new(template: &'t Template) -> Self {
        let placement = &template.spec.placement;
        let host = template.endpoint.ports.iter().filter(|port| port.mode == PublishMode::Host && port.published != 0);
        Self {
            constraints: Constraint::parse_all(&placement.constraints).ok(),
            plugins: plugins(template),
            platforms: &placement.platforms,
            max_replicas: placement.max_replicas,
            wants: template.spec.resources.reservations,
            generic: &template.spec.resources.generic,
            host_ports: host.map(|port| (port.protocol, port.published)).collect(),
        }
    }

    /// The first filter that the node fails by. `copies` is how many active tasks of the service it has.
    pub(super) fn check(&self, view: &Store, row: &Row<'_>, copies: u32) -> Option<Filter> {
        ALL.into_iter().find(|filter| !self.passes(*filter, view, row, copies))
    }

    /// Whether a node that passed once still does after it took a task.
    pub(super) fn still_fits(&self, view: &Store, row: &Row<'_>, copies: u32) -> bool {
        [Filter::Resources, Filter::HostPort, Filter::MaxReplicas].into_iter().all(|filter| self.passes(filter, view, row, copies))
    }

    fn passes(&self, filter: Filter, view: &Store, row: &Row<'_>, copies: u32) -> bool {
        match filter {
            Filter::Ready => row.is_available(),
            Filter::Resources => row.has_room(&self.wants) && row.has_generic(self.generic),
            Filter::Plugin => self.plugins.iter().all(|wanted| has_plugin(row, wanted)),
            Filter::Constraints => self.constraints.as_ref().is_some_and(|all| all.iter().all(|one| one.matches(row.node))),
            Filter::Platform => self.platforms.is_empty() || self.platforms.iter().any(|wanted| offers(row, wanted)),
            Filter::HostPort => self.host_ports.iter().all(|port| row.has_port(view, *port)),
            Filter::MaxReplicas => self.max_replicas == 0 || u64::from(copies) < self.max_replicas,
        }
    }
}

/// The runtime that a label asks for, and volume drivers. A runtime named by its path is the node's to find.
fn plugins(template: &Template) -> Vec<(&'static str, &str)> {
    let container = &template.spec.container;
    let runtime = container.labels.get(labels::RUNTIME).map(String::as_str).filter(|name| !name.starts_with('/'));
    let drivers = container.mounts.iter().map(Mount::driver).filter(|driver| *driver != LOCAL_DRIVER);
    runtime.map(|name| ("Runtime", name)).into_iter().chain(drivers.map(|driver| ("Volume", driver))).collect()
}

/// `name:latest` is `name`, as in SwarmKit.
fn has_plugin(row: &Row<'_>, (kind, name): &(&str, &str)) -> bool {
    let same = |has: &str| has == *name || has.strip_suffix(":latest") == Some(name);
    row.node.description.plugins.iter().any(|(of, has)| of == kind && same(has))
}

fn offers(row: &Row<'_>, wanted: &Platform) -> bool {
    let description = &row.node.description;
    let own = std::slice::from_ref(&description.platform);
    let offered = if description.platforms.is_empty() { own } else { &description.platforms };
    let same = |wanted: &str, has: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(has);
    offered.iter().any(|has| same(&wanted.os, &has.os) && same(&processor(&wanted.architecture), &processor(&has.architecture)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_swarms() {
        assert_eq!(explain(&[0; 7]), "no suitable node");
        assert_eq!(explain(&[1, 0, 0, 0, 0, 0, 0]), "no suitable node (1 node not available for new tasks)");
        assert_eq!(
            explain(&[1, 2, 0, 3, 0, 0, 0]),
            "no suitable node (scheduling constraints not satisfied on 3 nodes; insufficient resources on 2 nodes; 1 node not available for new tasks)"
        );
        assert_eq!(
            explain(&[0, 0, 0, 0, 1, 1, 4]),
            "no suitable node (max replicas per node limit exceed; unsupported platform on 1 node; host-mode port already in use on 1 node)"
        );
    }
}
