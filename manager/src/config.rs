//! What the daemon tells its manager.

use std::net::SocketAddr;
use std::path::PathBuf;
use wsw_api::object::NodeDescription;
use wsw_api::spec::{Availability, ClusterSpec};

/// Where this manager lives and what it says of itself.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_root: PathBuf,
    /// The address that other nodes dial.
    pub advertise_addr: SocketAddr,
    pub hostname: String,
    pub description: NodeDescription,
}

/// What `swarm init` asks for.
#[derive(Debug, Clone)]
pub struct InitSpec {
    pub spec: ClusterSpec,
    pub availability: Availability,
}
