//! A socket: accepts connections for this node's handlers, dials others.
//!
//! Invariant: control and bulk traffic go through endpoints of their own, so that image bytes never wait in one queue with a heartbeat.

use crate::accept::{Accepting, Gate, Handlers};
use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::error::{Close, Error};
use crate::nowhere::Nowhere;
use crate::peer::Peer;
use crate::protocol::Protocol;
use crate::{tls, transport};
use quinn::{ClientConfig, ServerConfig, TokioRuntime};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use wsw_api::NodeId;

/// How long a stopping node lets its last packets out.
const CLOSING: Duration = Duration::from_millis(500);
/// First packets that wait to be looked at; more are dropped by the library, and their senders try again.
const MAX_INCOMING: usize = 1_024;
/// What all of those may hold in memory.
const MAX_INCOMING_BYTES: u64 = 4 << 20;

/// Whom a dial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Any manager of the cluster.
    Manager,
    /// This node and no other.
    Node(NodeId),
}

impl Whom {
    /// What the certificate must be made out to.
    fn name(self) -> String {
        match self {
            Self::Manager => "swarm-manager".to_owned(),
            Self::Node(node) => node.to_string(),
        }
    }
}

/// See the module's page. Clones share it.
#[derive(Clone)]
pub struct Endpoint {
    inner: quinn::Endpoint,
    /// Renewed while connections go on: each keeps what it began with.
    credentials: Arc<RwLock<Credentials>>,
    accepting: Option<Arc<Accepting>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.inner.local_addr().ok()).finish()
    }
}

impl Endpoint {
    /// Listens, and dials from the same port.
    pub fn listen(addr: SocketAddr, credentials: Credentials, handlers: Handlers, gate: Arc<dyn Gate>) -> Result<Self, Error> {
        let inner = Self::open(addr, &credentials, Some(server(&credentials)?))?;
        let accepting = Arc::new(Accepting::new(credentials.own().cluster, handlers, gate));
        tokio::spawn(Arc::clone(&accepting).run(inner.clone()));
        Ok(Self { inner, credentials: Arc::new(RwLock::new(credentials)), accepting: Some(accepting) })
    }

    /// Dials only, from any port of the address.
    pub fn dialler(from: SocketAddr, credentials: Credentials) -> Result<Self, Error> {
        let inner = Self::open(SocketAddr::new(from.ip(), 0), &credentials, None)?;
        Ok(Self { inner, credentials: Arc::new(RwLock::new(credentials)), accepting: None })
    }

    fn open(addr: SocketAddr, credentials: &Credentials, config: Option<ServerConfig>) -> Result<quinn::Endpoint, Error> {
        let opened = quinn::Endpoint::new(transport::endpoint(credentials), config, transport::socket(addr)?, Arc::new(TokioRuntime));
        opened.map_err(|error| Error::Bind(addr, error.to_string()))
    }

    /// Where it is bound.
    pub fn addr(&self) -> Result<SocketAddr, Error> {
        self.inner.local_addr().map_err(|error| Error::Lost(error.to_string()))
    }

    /// Shows these from now on; open connections stay as they are.
    pub fn renew(&self, credentials: Credentials) -> Result<(), Error> {
        if self.accepting.is_some() {
            self.inner.set_server_config(Some(server(&credentials)?));
        }
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
        Ok(())
    }

    /// Serves others from now on; connections that they do not serve any more are closed.
    pub fn serve(&self, handlers: Handlers, gate: Arc<dyn Gate>) {
        if let Some(accepting) = &self.accepting {
            accepting.serve(handlers, gate);
        }
    }

    fn credentials(&self) -> Credentials {
        self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Dials a member of the cluster. That it takes us is known with the first answer on a stream.
    pub async fn dial(&self, addr: SocketAddr, whom: Whom, protocol: Protocol) -> Result<Connection, Error> {
        let credentials = self.credentials();
        let mut config = ClientConfig::new(Arc::new(tls::client(&credentials, protocol)?));
        config.transport_config(Arc::new(transport::dialling(protocol)));
        let connecting = self.inner.connect_with(config, addr, &whom.name()).map_err(|error| Error::Unreachable(addr, error.to_string()))?;
        let connection = connecting.await.map_err(|ended| Error::of_dial(addr, &ended))?;
        let peer = identity(&connection)?.ok_or_else(|| Error::Untrusted(addr, "it shows no certificate".into()))?;
        if peer.cluster != credentials.own().cluster {
            return Err(Error::Untrusted(addr, "it is of another cluster".into()));
        }
        let connection = Connection::new(connection, Some(Arc::new(peer)));
        if protocol.is_mutual() {
            let limits = protocol.limits();
            connection.grant(limits.streams, limits.window);
        }
        Ok(connection)
    }

    /// Asks the gate about every accepted connection again, and closes those whose peer may no longer have it.
    pub fn recheck(&self) {
        if let Some(accepting) = &self.accepting {
            accepting.recheck();
        }
    }

    /// Accepted connections that are open.
    pub fn accepted(&self) -> usize {
        self.accepting.as_ref().map_or(0, |accepting| accepting.count())
    }

    /// Closes all connections and stops; the port is free then, whoever has a clone of this.
    pub async fn close(&self) {
        self.inner.close(Close::Stopping.code(), b"");
        let _ = tokio::time::timeout(CLOSING, self.inner.wait_idle()).await;
        let Ok(addr) = self.inner.local_addr() else { return };
        // quinn keeps the socket of before until the next change.
        for _ in 0..2 {
            if let Err(error) = self.inner.rebind_abstract(Arc::new(Nowhere(addr))) {
                tracing::warn!(%addr, %error, "a port was not given back");
            }
        }
    }
}

/// How connections are accepted.
fn server(credentials: &Credentials) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::with_crypto(Arc::new(tls::server(credentials)?));
    config.transport_config(Arc::new(transport::accepting())).max_incoming(MAX_INCOMING).incoming_buffer_size_total(MAX_INCOMING_BYTES);
    Ok(config)
}

/// Who is at the other end of a finished handshake.
pub(crate) fn identity(connection: &quinn::Connection) -> Result<Option<Peer>, Error> {
    let shown = connection.peer_identity().and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    shown.as_ref().and_then(|chain| chain.first()).map(Peer::of).transpose()
}
