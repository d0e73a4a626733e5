//! Networks: what services may be attached to.
//!
//! Owns: the object, its spec, and a service's attachment. Addresses as they were written (`10.0.9.0/24`); the planner checks them.
//! There is no data plane behind them yet: a network is a name that services share.

use crate::id::NetworkId;
use crate::object::Meta;
use crate::spec::Annotations;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub meta: Meta,
    pub spec: NetworkSpec,
}

impl Network {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.annotations.name
    }
}

/// How far a network reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkScope {
    /// One node.
    Local,
    /// All nodes; the only kind that services can be attached to.
    Swarm,
}

impl NetworkScope {
    /// The word in Docker's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Swarm => "swarm",
        }
    }
}

/// A network as its user described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub annotations: Annotations,
    /// `overlay` or `bridge`.
    pub driver: String,
    pub scope: NetworkScope,
    pub internal: bool,
    pub attachable: bool,
    pub ipv4: bool,
    pub ipv6: bool,
    pub options: BTreeMap<String, String>,
    pub ipam: Ipam,
}

/// Where a network's addresses come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    pub driver: String,
    pub options: BTreeMap<String, String>,
    pub pools: Vec<Pool>,
}

/// One range of addresses; empty texts were not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub subnet: String,
    pub range: String,
    pub gateway: String,
    pub auxiliary: BTreeMap<String, String>,
}

/// A container's place in its node's own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    pub address: Ipv4Addr,
    /// Bits of the network.
    pub prefix: u8,
    pub gateway: Ipv4Addr,
    /// Of its link.
    pub mac: [u8; 6],
    /// File of its network namespace.
    pub namespace: String,
}

/// A service's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    pub network: NetworkId,
    pub aliases: Vec<String>,
    pub options: BTreeMap<String, String>,
}
