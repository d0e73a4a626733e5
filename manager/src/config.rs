//! What the daemon tells its manager.

use crate::raft::node::Timing;
use std::net::SocketAddr;
use std::path::PathBuf;
use wsw_api::object::NodeDescription;
use wsw_api::spec::{Availability, ClusterSpec};
use wsw_api::unlock::UnlockKey;

/// Where this manager lives and what it says of itself.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_root: PathBuf,
    /// The address that other nodes dial.
    pub advertise_addr: SocketAddr,
    pub hostname: String,
    pub description: NodeDescription,
    /// Where other managers were last; the state knows better, once it is there.
    pub managers: Vec<SocketAddr>,
    /// How soon a leader that is not heard is replaced.
    pub timing: Timing,
    /// What opens the identity of a locked manager.
    pub unlock: Option<UnlockKey>,
}

/// What `swarm init` asks for.
#[derive(Debug, Clone)]
pub struct InitSpec {
    pub spec: ClusterSpec,
    pub availability: Availability,
}
