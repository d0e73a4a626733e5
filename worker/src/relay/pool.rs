//! Connections between this node and the others, one for each pair where it can be.
//!
//! Owns: which one is used, and that a node is dialled once at a time. Invariants: a dial goes on when whoever asked for it has given up, so
//! that the next one finds it done; a connection that is over is never given out. Never: opens a stream.

use super::flow::Path;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use wsw_api::NodeId;
use wsw_net::{Endpoint, Error, Protocol, Whom};

/// A node that cannot be reached within this is not.
const DIAL: Duration = Duration::from_secs(5);

/// What became of a dial.
type Dialled = Option<Result<Path, Error>>;

enum Link {
    Open(Path),
    Dialling(watch::Receiver<Dialled>),
}

/// The connections.
#[derive(Default)]
pub struct Pool {
    endpoint: Mutex<Option<Endpoint>>,
    links: Mutex<BTreeMap<NodeId, Link>>,
}

impl Pool {
    /// Where nodes are dialled from; without it only connections that came are used.
    pub fn dial_from(&self, endpoint: Option<Endpoint>) {
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = endpoint;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that the other side dialled; used when there is none.
    pub fn came(&self, node: NodeId, path: &Path) {
        let mut links = self.lock();
        if !matches!(links.get(&node), Some(Link::Open(open)) if !open.connection.is_closed()) {
            links.insert(node, Link::Open(path.clone()));
        }
    }

    /// The connection is over, if it is the one that is used.
    pub fn gone(&self, node: NodeId) {
        let mut links = self.lock();
        if matches!(links.get(&node), Some(Link::Open(open)) if open.connection.is_closed()) {
            links.remove(&node);
        }
    }

    /// The one that is open.
    pub fn open(&self, node: NodeId) -> Option<Path> {
        match self.lock().get(&node) {
            Some(Link::Open(open)) if !open.connection.is_closed() => Some(open.clone()),
            _ => None,
        }
    }

    /// The open one or, when there is none, a new one, for whose incoming streams `serve` cares.
    pub async fn connection<S>(self: &Arc<Self>, node: NodeId, addr: SocketAddr, serve: S) -> Result<Path, Error>
    where
        S: FnOnce(Path) + Send + 'static,
    {
        let mut waiting = match self.look(node, addr, serve)? {
            Link::Open(open) => return Ok(open),
            Link::Dialling(waiting) => waiting,
        };
        let dialled = waiting.wait_for(Option::is_some).await.map_err(|_| Error::Lost("the dial was given up".into()))?;
        dialled.clone().unwrap_or_else(|| Err(Error::Lost("the dial was given up".into())))
    }

    fn look<S>(self: &Arc<Self>, node: NodeId, addr: SocketAddr, serve: S) -> Result<Link, Error>
    where
        S: FnOnce(Path) + Send + 'static,
    {
        let mut links = self.lock();
        match links.get(&node) {
            Some(Link::Open(open)) if !open.connection.is_closed() => return Ok(Link::Open(open.clone())),
            Some(Link::Dialling(waiting)) if waiting.borrow().is_none() && waiting.has_changed().is_ok() => return Ok(Link::Dialling(waiting.clone())),
            _ => {}
        }
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let endpoint = endpoint.ok_or_else(|| Error::Lost("this node cannot dial".into()))?;
        let (done, waiting) = watch::channel(None);
        links.insert(node, Link::Dialling(waiting.clone()));
        let pool = self.clone();
        tokio::spawn(async move {
            let dialled = tokio::time::timeout(DIAL, endpoint.dial(addr, Whom::Node(node), Protocol::Relay)).await;
            let dialled = dialled.unwrap_or_else(|_| Err(Error::Unreachable(addr, "nobody answers".into()))).map(Path::new);
            match &dialled {
                Ok(path) => {
                    pool.lock().insert(node, Link::Open(path.clone()));
                    serve(path.clone());
                }
                Err(error) => {
                    tracing::debug!(%node, %error, "a node is not reached");
                    pool.lock().remove(&node);
                }
            }
            done.send_replace(Some(dialled));
        });
        Ok(Link::Dialling(waiting))
    }
}
