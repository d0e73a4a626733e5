//! Which ports this node serves, and for whom: a pure function of the endpoints and of what runs here.
//!
//! Invariants: ingress ports (the endpoints' rows) are served on every node, host ports (the templates') where a task that has them
//! runs; a port has one service (the allocator sees to that for ingress ports), a second one is a problem with a text.
//! Never: binds anything.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use wsw_api::session::ServiceEndpoint;
use wsw_api::spec::{PortConfig, Protocol, PublishMode};
use wsw_api::{ServiceId, Template};

/// Where a published port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub service: ServiceId,
    pub name: String,
    /// The port as the service's tasks know it.
    pub target: u16,
    /// Served by the tasks of this node alone.
    pub is_host: bool,
}

/// All ports of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    pub ports: BTreeMap<(Protocol, u16), Published>,
    /// What cannot be served at all.
    pub problems: Vec<Problem>,
}

/// A port that is not served, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub service: ServiceId,
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
    pub reason: String,
}

impl Problem {
    /// Of a port that is wanted.
    pub fn of((protocol, port): (Protocol, u16), published: &Published, reason: String) -> Self {
        Self { service: published.service, name: published.name.clone(), port, protocol, reason }
    }

    /// The text for the status of the service's tasks.
    pub fn for_task(&self) -> String {
        format!("port {}/{}: {}", self.port, self.protocol.as_str(), self.reason)
    }

    /// One text per service.
    pub fn by_service(problems: &[Self]) -> BTreeMap<ServiceId, Arc<str>> {
        let mut texts: BTreeMap<ServiceId, Vec<String>> = BTreeMap::new();
        for problem in problems {
            texts.entry(problem.service).or_default().push(problem.for_task());
        }
        texts.into_iter().map(|(service, texts)| (service, texts.join("; ").into())).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}/{} (service {}): {}", self.port, self.protocol.as_str(), self.name, self.reason)
    }
}

/// The table for these endpoints, and for the templates of the tasks that run here.
pub fn table<'a>(endpoints: &BTreeMap<ServiceId, ServiceEndpoint>, running: impl IntoIterator<Item = &'a Template>) -> Table {
    let mut table = Table::default();
    for row in endpoints.values() {
        for port in row.ports.iter().filter(|port| port.mode == PublishMode::Ingress) {
            publish(&mut table, row.service, &row.name, port);
        }
    }
    for template in running {
        for port in host_ports(template) {
            publish(&mut table, template.service, &template.annotations.name, port);
        }
    }
    table
}

/// The ports that are served where the template's tasks run, and only there.
pub fn host_ports(template: &Template) -> impl Iterator<Item = &PortConfig> {
    template.endpoint.ports.iter().filter(|port| port.mode == PublishMode::Host)
}

fn publish(table: &mut Table, service: ServiceId, name: &str, port: &PortConfig) {
    let mut refuse = |reason: String| {
        let (name, protocol) = (name.to_owned(), port.protocol);
        table.problems.push(Problem { service, name, port: port.published, protocol, reason });
    };
    if port.published == 0 {
        // Not allocated yet.
        return;
    }
    if port.protocol == Protocol::Sctp {
        return refuse(format!("{} is not served by this version", port.protocol.as_str()));
    }
    match table.ports.get(&(port.protocol, port.published)) {
        // Two versions of a service during its rollout.
        Some(other) if other.service == service => {}
        Some(other) => refuse(format!("in use by service {}", other.name)),
        None => drop(table.ports.insert(
            (port.protocol, port.published),
            Published { service, name: name.to_owned(), target: port.target, is_host: port.mode == PublishMode::Host },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake::{endpoint, service_id, template};

    fn endpoints(rows: impl IntoIterator<Item = ServiceEndpoint>) -> BTreeMap<ServiceId, ServiceEndpoint> {
        rows.into_iter().map(|row| (row.service, row)).collect()
    }

    #[test]
    fn host_ports_are_served_where_a_task_runs() {
        let rows = endpoints([endpoint(2, 8081)]);
        let mut host = Template::clone(&template(1));
        host.endpoint.ports = vec![PortConfig { target: 80, published: 8080, mode: PublishMode::Host, ..PortConfig::default() }];
        assert_eq!(table(&rows, []).ports.into_keys().collect::<Vec<_>>(), [(Protocol::Tcp, 8081)]);
        let both = table(&rows, [&host, &host]);
        assert_eq!((both.ports.into_keys().collect::<Vec<_>>(), both.problems), (vec![(Protocol::Tcp, 8080), (Protocol::Tcp, 8081)], vec![]));
    }

    #[test]
    fn what_cannot_be_served_says_why() {
        let (mut sctp, mut udp) = (endpoint(1, 53), endpoint(5, 80));
        sctp.ports[0].protocol = Protocol::Sctp;
        udp.ports[0].protocol = Protocol::Udp;
        let table = table(&endpoints([sctp, endpoint(2, 80), endpoint(3, 80), endpoint(4, 0), udp]), []);
        let texts: Vec<_> = table.problems.iter().map(Problem::to_string).collect();
        assert_eq!(texts, ["port 53/sctp (service web): sctp is not served by this version", "port 80/tcp (service web): in use by service web"]);
        assert_eq!(&*Problem::by_service(&table.problems)[&service_id(3)], "port 80/tcp: in use by service web");
        assert_eq!(table.ports.keys().collect::<Vec<_>>(), [&(Protocol::Tcp, 80), &(Protocol::Udp, 80)]);
    }
}
