//! Tests of the store: statuses, guards, references, requests, snapshots.

use super::*;

impl Store {
    /// Every index is what the tables say: the store is equal to the one of its snapshot.
    pub(crate) fn assert_consistent(&self) {
        let rebuilt = Self::from_snapshot(self.to_snapshot()).unwrap();
        assert_eq!(self.names, rebuilt.names);
        assert_eq!(self.ports, rebuilt.ports);
        assert_eq!(self.by_service, rebuilt.by_service);
        assert_eq!(self.by_node, rebuilt.by_node);
        assert_eq!(self.placed, rebuilt.placed);
        assert_eq!(self.loads, rebuilt.loads);
        assert_eq!(self.host_ports, rebuilt.host_ports);
        assert_eq!(self.unplaced, rebuilt.unplaced);
        assert_eq!(self.globals, rebuilt.globals);
        let references = |store: &Self| store.templates.iter().map(|(key, row)| (*key, row.tasks)).collect::<Vec<_>>();
        assert_eq!(references(self), references(&rebuilt));
    }
}
