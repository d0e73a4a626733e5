//! Writes to the cluster object: its settings, join tokens and root.
//!
//! Owns: what `swarm update` may change. New tokens and roots are made by the manager and come in whole.

use super::{Decision, invalid, out_of_sequence};
use crate::Store;
use wsw_api::entry::{Change, Guard, Outcome};
use wsw_api::error::{Error, Result};
use wsw_api::spec::ClusterSpec;
use wsw_api::time::{MILLISECOND, Nanos, SECOND};
use wsw_api::trust::RootChange;
use wsw_api::unlock::UnlockKey;

/// SwarmKit's name of the one cluster object.
const NAME: &str = "default";
/// SwarmKit's shortest life of a node certificate.
const MIN_CERT_EXPIRY: Nanos = 3_600 * SECOND;
/// A worker is asked for a sign of life this often at most: more is a flood, and a busy machine would count as dead.
const MIN_HEARTBEAT: Nanos = 100 * MILLISECOND;

pub(super) fn update(
    view: &Store,
    version: u64,
    spec: &ClusterSpec,
    (worker, manager): (Option<&str>, Option<&str>),
    (unlock_key, rotate_unlock_key): (Option<&UnlockKey>, bool),
    root: &RootChange,
) -> Result<Decision> {
    if spec.annotations.name != NAME {
        return Err(invalid("modification of cluster name is not allowed"));
    }
    let Some(old) = view.cluster() else {
        return Err(Error::unavailable("this node is not part of a swarm"));
    };
    if old.meta.version != version {
        return Err(out_of_sequence());
    }
    check(spec)?;
    let mut cluster = (**old).clone();
    cluster.spec = spec.clone();
    if let Some(token) = worker {
        cluster.join_tokens.worker = token.to_owned();
    }
    if let Some(token) = manager {
        cluster.join_tokens.manager = token.to_owned();
    }
    // SwarmKit's: a key is there while autolock is on, and stays as long as nobody asks for another.
    cluster.unlock_key = match old.unlock_key.as_ref().filter(|_| !rotate_unlock_key) {
        _ if !spec.autolock => None,
        Some(kept) => Some(kept.clone()),
        None => unlock_key.cloned(),
    };
    if spec.autolock && cluster.unlock_key.is_none() {
        return Err(Error::internal("autolock was asked for without a key"));
    }
    match root {
        RootChange::Keep => {}
        RootChange::Begin(rotation) => cluster.rotation = Some(rotation.clone()),
        RootChange::Abort => cluster.rotation = None,
    }
    Ok(Decision { guards: vec![Guard::ClusterVersion(version)], changes: vec![Change::PutCluster(Box::new(cluster))], outcome: Outcome::Done })
}

/// What the settings must be like; `swarm init` asks before there is a cluster.
pub fn check(spec: &ClusterSpec) -> Result<()> {
    if spec.node_cert_expiry < MIN_CERT_EXPIRY {
        return Err(invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    if spec.heartbeat_period < MIN_HEARTBEAT {
        return Err(invalid("Dispatcher.HeartbeatPeriod: use a heartbeat period of at least 100ms"));
    }
    Ok(())
}
