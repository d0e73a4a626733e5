//! This node on the network: the port that it listens on, and the socket that bulk traffic is dialled from.
//!
//! Owns: when the port is bound, and that connections are judged anew when the cluster's state changes. Invariant: a port that another
//! program has at the daemon's start is tried again and again; tasks do not wait for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::spec::NodeRole;
use wsw_manager::Manager;
use wsw_manager::identity::Identity;
use wsw_net::{Credentials, Endpoint, Error, Gate, Handlers, Peer, Protocol};
use wsw_worker::relay::Relay;

/// Between two tries to bind the port.
const REBIND: Duration = Duration::from_secs(1);
/// Connections are judged anew no more often than this, however fast the state changes.
const RECHECK: Duration = Duration::from_millis(100);

/// See the module's page.
pub struct Network {
    control: watch::Receiver<Option<Endpoint>>,
    bulk: Option<Endpoint>,
    /// What is shown since, for a port that is bound later.
    renewed: Arc<Mutex<Option<Credentials>>>,
    _binding: Option<AbortOnDropHandle<()>>,
    rechecking: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What a node listens with.
pub struct Listen {
    pub addr: SocketAddr,
    pub credentials: Credentials,
    pub handlers: Handlers,
    /// None on a worker: it knows what its leader says.
    pub manager: Option<Manager>,
    pub relay: Arc<Relay>,
}

/// The identity as the network takes it.
pub fn credentials(identity: &Identity) -> Result<Credentials, Error> {
    Credentials::from_pem(&identity.root, &identity.certificate, &identity.key.0)
}

impl Network {
    /// Nothing: without an identity nobody can be spoken to.
    pub fn none() -> Self {
        Self { control: watch::channel(None).1, bulk: None, renewed: Arc::default(), _binding: None, rechecking: Mutex::default() }
    }

    /// Binds the port now, or says why not.
    pub fn open(listen: Listen) -> Result<Self, Error> {
        let endpoint = listen.bind()?;
        Self::with(&listen, watch::channel(Some(endpoint)).1, Arc::default(), None)
    }

    /// Binds the port now or as soon as it is free.
    pub fn resume(listen: Listen) -> Result<Self, Error> {
        let (bound, control) = watch::channel(None);
        match listen.bind() {
            Ok(endpoint) => {
                bound.send_replace(Some(endpoint));
                Self::with(&listen, control, Arc::default(), None)
            }
            Err(error) => {
                tracing::error!(%error, "this node cannot be reached; it goes on trying");
                let listen = Arc::new(listen);
                let renewed = Arc::<Mutex<Option<Credentials>>>::default();
                let (again, since) = (listen.clone(), renewed.clone());
                let binding = tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(REBIND).await;
                        if let Ok(endpoint) = again.bind() {
                            tracing::info!(addr = %again.addr, "this node can be reached");
                            bound.send_replace(Some(endpoint.clone()));
                            let newest = since.lock().unwrap_or_else(PoisonError::into_inner).clone();
                            if let Some(Err(error)) = newest.map(|newest| endpoint.renew(newest)) {
                                tracing::error!(%error, "the new certificate cannot be shown");
                            }
                            return;
                        }
                    }
                });
                Self::with(&listen, control, renewed, Some(AbortOnDropHandle::new(binding)))
            }
        }
    }

    fn with(
        listen: &Listen,
        control: watch::Receiver<Option<Endpoint>>,
        renewed: Arc<Mutex<Option<Credentials>>>,
        binding: Option<AbortOnDropHandle<()>>,
    ) -> Result<Self, Error> {
        let bulk = Endpoint::dialler(listen.addr, listen.credentials.clone())?;
        let rechecking = Mutex::new(Some(listen.recheck(&control)));
        Ok(Self { control, bulk: Some(bulk), renewed, _binding: binding, rechecking })
    }

    /// The node's role has changed: from now on it shows and serves this, without closing what still fits.
    pub fn change(&self, listen: &Listen) -> Result<(), Error> {
        let endpoint = self.control.borrow().clone().ok_or_else(|| Error::Lost("this node cannot be reached yet".into()))?;
        self.renew(&listen.credentials)?;
        endpoint.serve(listen.handlers.clone(), listen.gate());
        *self.rechecking.lock().unwrap_or_else(PoisonError::into_inner) = Some(listen.recheck(&self.control));
        Ok(())
    }

    /// Shows these from now on; open connections stay as they are.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), Error> {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials.clone());
        let control = self.control.borrow().clone();
        control.iter().chain(&self.bulk).try_for_each(|endpoint| endpoint.renew(credentials.clone()))
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

/// Judges connections anew whenever what decides about them has changed.
async fn recheck<T>(mut decides: watch::Receiver<T>, control: watch::Receiver<Option<Endpoint>>) {
    while decides.changed().await.is_ok() {
        if let Some(endpoint) = &*control.borrow() {
            endpoint.recheck();
        }
        tokio::time::sleep(RECHECK).await;
    }
}

impl Listen {
    fn bind(&self) -> Result<Endpoint, Error> {
        Endpoint::listen(self.addr, self.credentials.clone(), self.handlers.clone(), self.gate())
    }

    fn gate(&self) -> Arc<dyn Gate> {
        match &self.manager {
            Some(manager) => Arc::new(manager.clone()),
            None => Arc::new(Members(self.relay.clone())),
        }
    }

    fn recheck(&self, control: &watch::Receiver<Option<Endpoint>>) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(match &self.manager {
            Some(manager) => tokio::spawn(recheck(manager.applied(), control.clone())),
            None => tokio::spawn(recheck(self.relay.routes().peers(), control.clone())),
        })
    }
}

/// A worker knows who is in the cluster from its leader, which may tell it later than it tells others.
struct Members(Arc<Relay>);

impl Gate for Members {
    fn admit(&self, peer: &Peer, protocol: Protocol) -> Result<(), Error> {
        let routes = self.0.routes();
        match protocol {
            Protocol::Relay | Protocol::Logs | Protocol::Blob => match routes.peer(peer.node) {
                Some(node) if protocol == Protocol::Logs && node.role != NodeRole::Manager => {
                    Err(Error::Refused("only managers read the logs of other nodes".into()))
                }
                Some(_) => Ok(()),
                None if routes.peers().borrow().is_empty() => Err(Error::Busy("this node has not heard who is in the cluster".into())),
                None => Err(Error::Refused(wsw_planner::dispatcher::REMOVED.into())),
            },
            // Workers serve nothing else.
            _ => Ok(()),
        }
    }
}
