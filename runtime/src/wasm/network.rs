//! Which sockets a task's shim must be able to make.
//!
//! Owns: the one predicate. A task that needs none shares a shim that can make none.

use crate::executor::TaskRequest;
use wsw_api::labels;
use wsw_api::shim::{Kind, Network};

/// `Inet` for a guest that may connect to others, or that listens itself; servers of wasi:http are handed their connections, and wasip1 modules
/// have no sockets at all.
pub(super) fn needed(request: &TaskRequest, kind: Option<Kind>) -> Network {
    if matches!(kind, Some(Kind::Module)) {
        return Network::None;
    }
    let reaches_out = request.spec.container.labels.get(labels::ALLOW_OUTBOUND).is_some_and(|allowed| !allowed.trim().is_empty());
    let listens = !matches!(kind, Some(Kind::Http)) && !request.ports.is_empty();
    if reaches_out || listens { Network::Inet } else { Network::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wsw_api::spec::{ContainerSpec, PortConfig, TaskSpec};
    use wsw_api::{NodeId, ServiceId, TaskId};

    fn network(kind: Kind, ports: usize, outbound: &str) -> Network {
        let labels = (!outbound.is_empty()).then(|| (labels::ALLOW_OUTBOUND.to_owned(), outbound.to_owned())).into_iter().collect();
        let container = ContainerSpec { labels, ..ContainerSpec::default() };
        let request = TaskRequest {
            task: TaskId::from_bytes([1; 16]),
            service: ServiceId::from_bytes([2; 16]),
            service_name: "web".into(),
            service_labels: Default::default(),
            slot: 1,
            node: NodeId::default(),
            hostname: String::new(),
            template: 1,
            spec: Arc::new(TaskSpec { container, ..TaskSpec::default() }),
            ports: vec![PortConfig::default(); ports],
            generic: Vec::new(),
            auth: None,
        };
        needed(&request, Some(kind))
    }

    #[test]
    fn only_what_listens_or_reaches_out_gets_sockets() {
        assert_eq!(network(Kind::Http, 1, ""), Network::None);
        assert_eq!(network(Kind::Http, 1, "example.com"), Network::Inet);
        assert_eq!(network(Kind::Command, 0, ""), Network::None);
        assert_eq!(network(Kind::Command, 0, " "), Network::None);
        assert_eq!(network(Kind::Command, 1, ""), Network::Inet);
        assert_eq!(network(Kind::Command, 0, "*"), Network::Inet);
        assert_eq!(network(Kind::Module, 1, "*"), Network::None);
    }
}
