//! Where the other nodes reach this manager: named once, or chosen anew when its machine gets another address.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// Clones are the same address.
#[derive(Debug, Clone)]
pub struct OwnAddr(Arc<RwLock<SocketAddr>>);

impl OwnAddr {
    /// To begin with.
    pub fn new(addr: SocketAddr) -> Self {
        Self(Arc::new(RwLock::new(addr)))
    }

    /// As it is now.
    pub fn get(&self) -> SocketAddr {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on.
    pub fn set(&self, addr: SocketAddr) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addr;
    }
}
