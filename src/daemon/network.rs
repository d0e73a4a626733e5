//! This node on the network: the port that it listens on, and the socket that bulk traffic is dialled from.
//!
//! Owns: when the port is bound, and that connections are judged anew when the cluster's state changes. Invariant: a port that another
//! program has at the daemon's start is tried again and again; tasks do not wait for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use wsw_manager::Manager;
use wsw_manager::identity::Identity;
use wsw_net::{Credentials, Endpoint, Error, Gate, Handlers, Peer, Protocol};

/// Between two tries to bind the port.
const REBIND: Duration = Duration::from_secs(1);
/// Connections are judged anew no more often than this, however fast the state changes.
const RECHECK: Duration = Duration::from_millis(100);

/// See the module's page.
pub struct Network {
    control: watch::Receiver<Option<Endpoint>>,
    bulk: Option<Endpoint>,
    _binding: Option<AbortOnDropHandle<()>>,
    _rechecking: Option<AbortOnDropHandle<()>>,
}

/// What a node listens with.
pub struct Listen {
    pub addr: SocketAddr,
    pub credentials: Credentials,
    pub handlers: Handlers,
    /// None on a worker: every member of the cluster may ask it.
    pub manager: Option<Manager>,
}

/// The identity as the network takes it.
pub fn credentials(identity: &Identity) -> Result<Credentials, Error> {
    Credentials::from_pem(&identity.root, &identity.certificate, &identity.key.0)
}

impl Network {
    /// Nothing: without an identity nobody can be spoken to.
    pub fn none() -> Self {
        Self { control: watch::channel(None).1, bulk: None, _binding: None, _rechecking: None }
    }

    /// Binds the port now, or says why not.
    pub fn open(listen: Listen) -> Result<Self, Error> {
        let endpoint = listen.bind()?;
        Self::with(&listen, watch::channel(Some(endpoint)).1, None)
    }

    /// Binds the port now or as soon as it is free.
    pub fn resume(listen: Listen) -> Result<Self, Error> {
        let (bound, control) = watch::channel(None);
        match listen.bind() {
            Ok(endpoint) => {
                bound.send_replace(Some(endpoint));
                Self::with(&listen, control, None)
            }
            Err(error) => {
                tracing::error!(%error, "this node cannot be reached; it goes on trying");
                let listen = Arc::new(listen);
                let again = listen.clone();
                let binding = tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(REBIND).await;
                        if let Ok(endpoint) = again.bind() {
                            tracing::info!(addr = %again.addr, "this node can be reached");
                            bound.send_replace(Some(endpoint));
                            return;
                        }
                    }
                });
                Self::with(&listen, control, Some(AbortOnDropHandle::new(binding)))
            }
        }
    }

    fn with(listen: &Listen, control: watch::Receiver<Option<Endpoint>>, binding: Option<AbortOnDropHandle<()>>) -> Result<Self, Error> {
        let bulk = Endpoint::dialler(listen.addr, listen.credentials.clone())?;
        let rechecking = listen.manager.as_ref().map(|manager| {
            let (mut applied, control) = (manager.applied(), control.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                while applied.changed().await.is_ok() {
                    if let Some(endpoint) = &*control.borrow() {
                        endpoint.recheck();
                    }
                    tokio::time::sleep(RECHECK).await;
                }
            }))
        });
        Ok(Self { control, bulk: Some(bulk), _binding: binding, _rechecking: rechecking })
    }

    /// The port's endpoint, as soon as it is bound; none when that will not happen any more.
    pub async fn control(&self) -> Option<Endpoint> {
        let mut control = self.control.clone();
        let bound = control.wait_for(Option::is_some).await.ok()?;
        bound.clone()
    }

    /// Where bulk traffic is dialled from; none without an identity.
    pub fn bulk(&self) -> Option<&Endpoint> {
        self.bulk.as_ref()
    }

    /// Closes all connections.
    pub async fn close(&self) {
        let control = self.control.borrow().clone();
        for endpoint in control.iter().chain(&self.bulk) {
            endpoint.close().await;
        }
    }
}

impl Listen {
    fn bind(&self) -> Result<Endpoint, Error> {
        let gate: Arc<dyn Gate> = match &self.manager {
            Some(manager) => Arc::new(manager.clone()),
            None => Arc::new(Members),
        };
        Endpoint::listen(self.addr, self.credentials.clone(), self.handlers.clone(), gate)
    }
}

/// A worker does not know who is in the cluster; a valid certificate is all that it can ask for.
struct Members;

impl Gate for Members {
    fn admit(&self, _: &Peer, _: Protocol) -> Result<(), Error> {
        Ok(())
    }
}
