//! A locked manager: its keys on disk are sealed by the swarm's unlock key.
//!
//! Owns: that the seal follows the state (`follow`), and `swarm unlock`. Invariants: the seal's key is that of the newest version of the
//! cluster that was ever seen here, so a log that is applied again seals nothing with an older one; a wrong key changes nothing. The worker
//! and its tasks notice nothing. Never: prints a key.

use super::member::{Control, Member};
use super::node::Node;
use anyhow::{Context, Result};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use wsw_api::unlock::UnlockKey;
use wsw_api::{Error, Result as ApiResult};
use wsw_dockerapi::backend::NOT_LOCKED;
use wsw_manager::Manager;
use wsw_manager::identity::Identity;
use wsw_manager::identity::sealed::LockedOut;

/// moby's words.
const WRONG_KEY: &str = "swarm could not be unlocked: invalid key provided";
/// SwarmKit's words for what is no key at all.
const NO_KEY: &str = "invalid key string";
/// Between two tries to seal the keys, while the disk refuses.
const AGAIN: Duration = Duration::from_secs(1);

/// What seals this node's keys now.
#[derive(Debug, Default)]
pub struct Seal(Mutex<(Option<UnlockKey>, u64)>);

impl Seal {
    pub fn key(&self) -> Option<UnlockKey> {
        self.get().0
    }

    fn get(&self) -> (Option<UnlockKey>, u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new membership.
    pub fn begin(&self, key: Option<UnlockKey>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (key, 0);
    }

    /// What was read or written.
    pub fn set(&self, identity: &Identity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (identity.lock.clone(), identity.lock_version);
    }
}

/// Whether an identity cannot be read because it is sealed.
pub fn is_locked(identity: &Result<Identity>) -> bool {
    let locked = |err: &anyhow::Error| err.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|err| LockedOut::of(err).is_some()));
    identity.as_ref().err().is_some_and(locked)
}

/// Keeps the keys sealed as the state says, for as long as the handle is there.
pub fn follow(node: &Arc<Node>, manager: &Manager) -> AbortOnDropHandle<()> {
    let (node, manager) = (Arc::downgrade(node), manager.clone());
    AbortOnDropHandle::new(tokio::spawn(keep(node, manager)))
}

async fn keep(node: Weak<Node>, manager: Manager) {
    let mut applied = manager.applied();
    loop {
        let Some(here) = node.upgrade() else { return };
        let sealed = here.seal_as_stated(&manager).await;
        drop(here);
        if let Err(error) = sealed {
            warn!(error = format!("{error:#}"), "the keys of this manager could not be sealed as the swarm says; it is tried again");
            tokio::time::sleep(AGAIN).await;
        } else if applied.changed().await.is_err() {
            return;
        }
    }
}

impl Node {
    /// Seals this manager's keys with the unlock key in the state, or opens them when there is none any more.
    pub(super) async fn seal_as_stated(&self, manager: &Manager) -> Result<()> {
        let due = || {
            let store = manager.store();
            let cluster = store.cluster()?;
            let (key, version) = self.seal.get();
            (cluster.meta.version > version && cluster.unlock_key != key).then(|| (cluster.unlock_key.clone(), cluster.meta.version))
        };
        if due().is_none() {
            return Ok(());
        }
        let _turn = self.transition.lock().await;
        let own = |member: &Arc<Member>| member.manager().is_some_and(|own| own.node_id() == manager.node_id());
        let Some((member, (lock, lock_version))) = self.member().filter(own).zip(due()) else { return Ok(()) };
        let identity = self.identity(&member.record.get())?;
        let sealed = Identity { lock, lock_version, ..identity };
        sealed.save(&self.paths.data_root).context("the identity cannot be written")?;
        self.seal.set(&sealed);
        match sealed.lock {
            Some(_) => info!("the keys of this manager are sealed with the swarm's unlock key"),
            None => info!("the keys of this manager are no longer sealed"),
        }
        Ok(())
    }

    /// `swarm unlock`: opens the keys and starts the manager.
    pub async fn unlock(self: &Arc<Self>, key: &str) -> ApiResult<()> {
        let _turn = self.transition.lock().await;
        let member = self.member().filter(|member| matches!(member.control, Control::Locked));
        let Some(member) = member else { return Err(self.manager().err().unwrap_or_else(|| Error::conflict(NOT_LOCKED))) };
        let key = UnlockKey::parse(key).ok_or_else(|| Error::invalid(NO_KEY))?;
        let record = member.record.get();
        let opened = self.identity_with(&record, Some(&key));
        if is_locked(&opened) {
            return Err(Error::unauthenticated(WRONG_KEY));
        }
        let identity = opened.map_err(|error| Error::internal(format!("{error:#}")))?;
        self.seal.set(&identity);
        let control = self.resume_manager(&record).await;
        let (network, control) = self.reach(&member.record, &Ok(identity), control);
        let broken = if let Control::Broken(message) = &control { Some(message.clone()) } else { None };
        self.install(member.record.clone(), member.worker.clone(), control, network);
        match broken {
            Some(message) => Err(Error::internal(format!("swarm component could not be started: {message}"))),
            None => Ok(()),
        }
    }
}
