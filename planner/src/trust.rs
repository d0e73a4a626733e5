//! The cluster's root: what nodes are told to believe, and when a new root has come in.
//!
//! Owns: both decisions, on applied state. Invariant: a root is believed only when every node of the cluster has a certificate of it, also
//! those that are away: they come back, or are removed. Never: makes a certificate.

use crate::Store;
use wsw_api::entry::Change;
use wsw_api::object::Cluster;
use wsw_api::trust::{Issuer, Trust};

/// Whose certificates nodes should have.
pub fn issuer(cluster: &Cluster) -> &Issuer {
    cluster.rotation.as_ref().map_or(&cluster.issuer, |rotation| &rotation.issuer)
}

/// What the leader tells nodes; none while the state does not say (it is of an earlier version).
pub fn wanted(view: &Store) -> Option<Trust> {
    let cluster = view.cluster()?;
    let issuer = issuer(cluster);
    (*issuer != Issuer::default()).then(|| Trust { root: cluster.root_ca.clone(), issuer: issuer.clone() })
}

/// The end of a rotation, when nobody has a certificate of the old root any more.
pub fn finish(view: &Store) -> Option<Change> {
    let rotation = view.cluster()?.rotation.as_ref()?;
    let all = view.nodes().all(|node| node.description.issuer == rotation.issuer);
    all.then(|| Change::FinishRotation { root_ca: rotation.root_ca.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{cluster, cluster_object, node_id, put};
    use std::sync::Arc;
    use wsw_api::object::JoinTokens;
    use wsw_api::time::Time;
    use wsw_api::trust::RootRotation;

    fn issuer_of(name: &str) -> Issuer {
        Issuer { subject: "swarm-ca".into(), public_key: name.into() }
    }

    fn rotation(name: &str) -> RootRotation {
        let text = |what: &str| format!("{what} of {name}");
        let join_tokens = JoinTokens { worker: text("worker"), manager: text("manager") };
        RootRotation { root_ca: text("root"), root_key: text("key"), cross_signed: text("cross"), issuer: issuer_of(name), join_tokens }
    }

    /// Two nodes, and a root that is to follow.
    fn rotating() -> Store {
        let mut store = cluster(2);
        let old = Cluster { root_ca: "root of old".into(), issuer: issuer_of("old"), rotation: Some(Box::new(rotation("new"))), ..cluster_object() };
        put(&mut store, Time(1), vec![Change::PutCluster(Box::new(old))]);
        store
    }

    fn renewed(store: &mut Store, number: u64, name: &str) {
        let mut description = (*store.node(&node_id(number)).unwrap().description).clone();
        description.issuer = issuer_of(name);
        put(store, Time(2), vec![Change::NodeDescription { id: node_id(number), description: Arc::new(description) }]);
    }

    #[test]
    fn the_new_root_issues_at_once_and_is_believed_when_every_node_has_a_certificate_of_it() {
        let mut store = rotating();
        assert_eq!(wanted(&store), Some(Trust { root: "root of old".into(), issuer: issuer_of("new") }));
        renewed(&mut store, 1, "new");
        renewed(&mut store, 2, "old");
        assert_eq!(finish(&store), None, "one has an old certificate");
        renewed(&mut store, 2, "new");
        let change = finish(&store).unwrap();
        put(&mut store, Time(3), vec![change.clone()]);
        let after = store.cluster().unwrap();
        assert_eq!((after.root_ca.as_str(), after.root_key.as_str(), after.join_tokens.worker.as_str()), ("root of new", "key of new", "worker of new"));
        assert_eq!((&after.issuer, after.cross_signed.as_deref(), &after.rotation), (&issuer_of("new"), Some("cross of new"), &None));
        assert_eq!(wanted(&store), Some(Trust { root: "root of new".into(), issuer: issuer_of("new") }));
        assert_eq!(finish(&store), None);
        let version = after.meta.version;
        put(&mut store, Time(4), vec![change]);
        assert_eq!(store.cluster().unwrap().meta.version, version, "a second time changes nothing");
    }

    #[test]
    fn a_node_that_is_away_holds_the_rotation_up_until_it_is_removed() {
        let mut store = rotating();
        renewed(&mut store, 1, "new");
        assert_eq!(finish(&store), None);
        put(&mut store, Time(3), vec![Change::RemoveNode(node_id(2))]);
        assert!(finish(&store).is_some());
    }

    #[test]
    fn a_rotation_that_was_replaced_is_not_finished() {
        let mut store = rotating();
        let late = Change::FinishRotation { root_ca: "root of new".into() };
        let replaced = Cluster { rotation: Some(Box::new(rotation("newer"))), ..(**store.cluster().unwrap()).clone() };
        put(&mut store, Time(3), vec![Change::PutCluster(Box::new(replaced)), late]);
        assert_eq!(store.cluster().unwrap().root_ca, "root of old");
        assert_eq!(issuer(store.cluster().unwrap()), &issuer_of("newer"));
    }
}
