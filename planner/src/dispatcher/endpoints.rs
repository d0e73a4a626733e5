//! Endpoint tables: where the published ports of each service lead, numbered by change.
//!
//! Owns: the rows as they were last made from the store. A session only remembers the number up to which it was told.

use crate::Store;
use std::collections::BTreeMap;
use wsw_api::id::ServiceId;
use wsw_api::session::ServiceEndpoint;
use wsw_api::spec::{PortConfig, PublishMode};

/// Removed rows kept for sessions that have not heard of them; above this they are looked through.
const MAX_GRAVES: usize = 256;

/// The rows; none for a service that is not published any more.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// Number of the last change.
    last: u64,
    rows: BTreeMap<ServiceId, (u64, Option<ServiceEndpoint>)>,
    by_number: BTreeMap<u64, ServiceId>,
    graves: usize,
}

impl Endpoints {
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Makes the service's row anew; it gets a number when it differs.
    pub(super) fn refresh(&mut self, view: &Store, id: &ServiceId) {
        let row = row(view, id);
        let old = self.rows.get(id);
        let known = old.and_then(|(_, old)| old.as_ref());
        if known == row.as_ref() {
            return;
        }
        if let Some((number, buried)) = old {
            self.by_number.remove(number);
            self.graves -= usize::from(buried.is_none());
        }
        self.last += 1;
        self.graves += usize::from(row.is_none());
        self.by_number.insert(self.last, *id);
        self.rows.insert(*id, (self.last, row));
    }

    /// Rows that changed after number `seen`; none stands for removed.
    pub(super) fn since(&self, seen: u64) -> impl Iterator<Item = (ServiceId, Option<&ServiceEndpoint>)> + '_ {
        self.by_number.range(seen + 1..).map(|(_, id)| (*id, self.rows.get(id).and_then(|(_, row)| row.as_ref())))
    }

    /// Forgets removed rows that every session (the least has seen `seen`) was told of.
    pub(super) fn prune(&mut self, seen: Option<u64>) {
        if self.graves <= MAX_GRAVES {
            return;
        }
        let seen = seen.unwrap_or(self.last);
        let Self { rows, by_number, graves, .. } = self;
        rows.retain(|_, (number, row)| {
            let keep = row.is_some() || *number > seen;
            if !keep {
                by_number.remove(number);
                *graves -= 1;
            }
            keep
        });
    }
}

fn row(view: &Store, id: &ServiceId) -> Option<ServiceEndpoint> {
    let service = view.service(id).filter(|service| !service.pending_delete)?;
    let ports: Vec<PortConfig> = service.ports.iter().filter(|port| port.mode == PublishMode::Ingress).cloned().collect();
    if ports.is_empty() {
        return None;
    }
    let nodes = view.placed(id).filter(|(_, placed)| placed.running > 0).map(|(node, placed)| (node, placed.running)).collect();
    Some(ServiceEndpoint { service: *id, name: service.name().to_owned(), ports, nodes })
}
