//! A node that starts as part of a swarm.
//!
//! Owns: what is made again from the membership record, and what is left out when a part of it cannot be.
//! Invariants: the worker starts before the manager is heard: tasks are adopted and ports are served although nobody leads yet. What
//! hinders the node's part in the cluster hinders nothing else.
//! Never: writes the record.

use super::super::autolock;
use super::super::member::{Control, Membership, Record};
use super::super::network::Network;
use super::super::trust;
use super::Node;
use anyhow::{Context, Result};
use std::sync::Arc;
use tracing::{error, warn};
use wsw_api::spec::NodeRole;
use wsw_api::unlock::UnlockKey;
use wsw_manager::Manager;
use wsw_manager::identity::Identity;

impl Node {
    pub(super) async fn resume(self: &Arc<Self>, mut record: Membership) -> Result<()> {
        record.listen = self.flags.listen.unwrap_or(record.listen);
        record.advertise = self.flags.advertise.unwrap_or(record.advertise);
        record.chosen &= self.flags.advertise.is_none() && record.listen.ip().is_unspecified();
        let identity = self.identity(&record).and_then(trust::valid);
        if let Ok(identity) = &identity {
            self.seal.set(identity);
        }
        if record.role == NodeRole::Worker {
            // Tasks that are taken up may need a part of an image at once.
            let kept = Arc::new(Record::new(&self.paths, record.clone()));
            let (network, control) = self.reach(&kept, &identity, Control::Worker);
            let worker = self.start_worker(&record, identity.as_ref().ok()).await?;
            self.install(kept, worker, control, network);
            return Ok(());
        }
        if autolock::is_locked(&identity) {
            warn!("this manager is locked; its tasks go on, and `swarm unlock` lets it take part again");
            let worker = self.start_worker(&record, identity.as_ref().ok()).await?;
            let kept = Arc::new(Record::new(&self.paths, record));
            let network = self.with_peers(&kept, Network::none());
            self.install(kept, worker, Control::Locked, network);
            return Ok(());
        }
        let (worker, control) = tokio::join!(self.start_worker(&record, identity.as_ref().ok()), self.resume_manager(&record));
        let kept = Arc::new(Record::new(&self.paths, record));
        let (network, control) = self.reach(&kept, &identity, control);
        self.install(kept, worker?, control, network);
        Ok(())
    }

    pub(in crate::daemon) fn identity(&self, record: &Membership) -> Result<Identity> {
        self.identity_with(record, self.seal.key().as_ref())
    }

    pub(in crate::daemon) fn identity_with(&self, record: &Membership, unlock: Option<&UnlockKey>) -> Result<Identity> {
        let found = Identity::load(&self.paths.data_root, unlock)?.filter(|identity| identity.node == record.node);
        found.with_context(|| format!("the identity of node {} is gone: restore the folder identity of the data root, or leave the swarm", record.node))
    }

    /// Goes on the network; what hinders that hinders the node's part in the cluster, and nothing else.
    pub(in crate::daemon) fn reach(&self, record: &Arc<Record>, identity: &Result<Identity>, control: Control) -> (Arc<Network>, Control) {
        let opened = match identity {
            Ok(identity) => self.listen(&record.get(), identity, &control).and_then(|listen| Ok(Network::resume(listen)?)),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        let (network, control) = match (opened, control) {
            (Ok(network), control) => (network, control),
            // Its own reason says more.
            (Err(_), Control::Broken(message)) => (Network::none(), Control::Broken(message)),
            (Err(error), _) => (Network::none(), Control::Broken(format!("{error:#}"))),
        };
        if let Control::Broken(message) = &control {
            error!(%message, "this node's part in the cluster cannot start; tasks go on");
        }
        (self.with_peers(record, network), control)
    }

    pub(in crate::daemon) async fn resume_manager(&self, record: &Membership) -> Control {
        match Manager::restart(self.manager_config(record)).await {
            Ok(Some(manager)) => match manager.incarnation().filter(|own| *own < record.incarnation) {
                None => Control::Manager(manager),
                Some(own) => {
                    manager.shutdown().await;
                    Control::Broken(wsw_manager::refusal(record.incarnation, own))
                }
            },
            // Its part of the state is lost: as a new one of the managers it gets all of it back from the others.
            Ok(None) if record.has_others() => match Manager::join(self.manager_config(record), Vec::new()).await {
                Ok(manager) => Control::Manager(manager),
                Err(error) => Control::Broken(error.message),
            },
            Ok(None) => Control::Broken("the raft folder of this manager is gone: restore it, or leave the swarm by force and make a new one".to_owned()),
            Err(error) => Control::Broken(error.message),
        }
    }
}
