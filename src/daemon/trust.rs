//! This node's certificate: renewed in time, or at once when the cluster's root is replaced; and the root that this node believes.
//!
//! Owns: when a manager is asked, and what is taken from it. Invariants: a certificate is written down and shown only when it leads to the
//! root that this node believes, a root is believed only when the own certificate leads to it too, so a node never locks itself out; open
//! connections stay, new ones use the new certificate; what fails is tried again with pauses that grow to a bound. Never: decides about roots
//! (the state does), issues certificates.

use super::join;
use super::member::{Control, Member};
use super::network::credentials;
use super::node::Node;
use anyhow::{Context, Result, bail};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use wsw_api::NodeId;
use wsw_api::trust::{Issuer, Renewal, Trust, pause};
use wsw_manager::identity::Identity;
use wsw_net::{Close, Credentials, Protocol, Whom};

/// moby's words.
const EXPIRED: &str = "Swarm certificates have expired. To replace them, leave the swarm and join again.";
/// The wall clock is looked at this often: it may be set, and a machine may sleep.
const LONGEST: Duration = Duration::from_secs(60);
/// What a busy manager's state says of trust is looked at no more often.
const LOOK: Duration = Duration::from_millis(100);
/// A manager that is shown a new certificate answers within this.
const SHOW: Duration = Duration::from_secs(1);

/// What was last done, so that looking again costs nothing.
#[derive(Default)]
struct Kept {
    node: NodeId,
    wanted: Option<Trust>,
    next: Option<Instant>,
    failures: u32,
    /// The certificate that the number was drawn for.
    drawn: (String, u32),
}

impl Kept {
    fn chance(&mut self, certificate: &str) -> u32 {
        if self.drawn.0 != certificate {
            self.drawn = (certificate.to_owned(), rand::random());
        }
        self.drawn.1
    }
}

/// Looks after the certificate for as long as there is the node.
pub async fn keep(node: Weak<Node>) {
    let Some((mut told, mut workers)) = node.upgrade().map(|here| (here.trust.subscribe(), here.workers.subscribe())) else { return };
    let mut kept = Kept::default();
    while let Some(here) = node.upgrade() {
        // Before the state is looked at: nothing of it is missed.
        let applied = here.member().and_then(|member| member.manager().map(wsw_manager::Manager::applied));
        let wait = here.look(&mut kept).await;
        drop(here);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Ok(()) = told.changed() => {}
            Ok(()) = workers.changed() => {}
            () = moves(applied) => {}
        }
    }
}

/// Completes when the state of this node's manager has changed.
async fn moves(applied: Option<watch::Receiver<u64>>) {
    let Some(mut applied) = applied else { return std::future::pending().await };
    if applied.changed().await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep(LOOK).await;
}

/// Shows the new certificate to the managers: they then let connections be that were made with the old one.
async fn show(member: Arc<Member>) {
    let Some(endpoint) = member.network.bulk() else { return };
    for manager in member.record.managers() {
        // One that is away, or takes no sessions, sees it with the next connection.
        if let Ok(Ok(connection)) = tokio::time::timeout(SHOW, endpoint.dial(manager, Whom::Manager, Protocol::Session)).await {
            connection.close(Close::Done, "");
        }
    }
}

/// A certificate with which this node could still be part of its swarm; otherwise what to do.
pub fn valid(identity: Identity) -> Result<Identity> {
    match credentials(&identity)?.validity().renewal(now(), 0) {
        Renewal::Expired => bail!(EXPIRED),
        Renewal::Wait(_) | Renewal::Due => Ok(identity),
    }
}

/// What this node tells the leader: the root that it believes, and who issued its certificate.
pub fn of(identity: &Identity) -> (String, Issuer) {
    (identity.root.clone(), credentials(identity).map(|shown| shown.issuer().clone()).unwrap_or_default())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Node {
    /// Does what is due; answers when to look again.
    async fn look(self: &Arc<Self>, kept: &mut Kept) -> Duration {
        let Some(member) = self.member().filter(|member| !matches!(member.control, Control::Broken(_) | Control::Locked)) else { return LONGEST };
        let wanted = match member.manager() {
            Some(manager) => wsw_planner::trust::wanted(&manager.store()),
            None => self.trust.borrow().clone(),
        };
        let id = member.record.get().node;
        if let Some(left) = kept.next.map(|next| next.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
            && (&kept.wanted, kept.node) == (&wanted, id)
        {
            return left;
        }
        if (&kept.wanted, kept.node) != (&wanted, id) {
            *kept = Kept { node: id, wanted: wanted.clone(), drawn: std::mem::take(&mut kept.drawn), ..Kept::default() };
        }
        let wait = match self.tend(&member, wanted.as_ref(), kept).await {
            Ok(wait) => {
                kept.failures = 0;
                wait
            }
            Err(error) => {
                kept.failures += 1;
                let wait = Duration::from_millis(pause(kept.failures, rand::random()));
                warn!(error = format!("{error:#}"), failures = kept.failures, ?wait, "failed to renew the certificate; it is tried again");
                wait
            }
        };
        kept.next = Some(Instant::now() + wait);
        wait
    }

    async fn tend(self: &Arc<Self>, member: &Arc<Member>, wanted: Option<&Trust>, kept: &mut Kept) -> Result<Duration> {
        let mut identity = self.identity(&member.record.get())?;
        let mut shown = credentials(&identity)?;
        let strange = |shown: &Credentials| wanted.is_some_and(|wanted| wanted.issuer != *shown.issuer());
        let renewal = shown.validity().renewal(now(), kept.chance(&identity.certificate));
        if renewal == Renewal::Expired {
            member.trouble.set(EXPIRED.to_owned());
        }
        if strange(&shown) || !matches!(renewal, Renewal::Wait(_)) {
            info!(root = strange(&shown), "renewing certificate");
            let renewed = self.renewed(member, &identity).await?;
            shown = credentials(&renewed)?;
            shown.check()?;
            self.take(&identity, &renewed).await?;
            member.network.renew(&shown)?;
            tokio::spawn(show(member.clone()));
            identity = renewed;
            if renewal == Renewal::Expired {
                member.trouble.clear();
            }
            if strange(&shown) {
                member.worker.trust(identity.root, shown.issuer().clone()).await;
                bail!("the new certificate is not of the root that is to follow yet");
            }
        }
        if let Some(wanted) = wanted.filter(|wanted| wanted.root != identity.root) {
            let believing = Identity { root: wanted.root.clone(), ..identity.clone() };
            shown = credentials(&believing)?;
            shown.check().context("the cluster's new root")?;
            self.take(&identity, &believing).await?;
            member.network.renew(&shown)?;
            identity = believing;
            info!("this node believes the cluster's new root");
        }
        member.worker.trust(identity.root.clone(), shown.issuer().clone()).await;
        match shown.validity().renewal(now(), kept.chance(&identity.certificate)) {
            Renewal::Wait(seconds) => Ok(Duration::from_secs(seconds).min(LONGEST)),
            // It lives for seconds.
            Renewal::Due | Renewal::Expired => bail!("the new certificate is about to expire"),
        }
    }

    /// A new certificate: a manager makes its own once it knows that its state is new, others ask the managers.
    async fn renewed(&self, member: &Member, identity: &Identity) -> Result<Identity> {
        let known = member.record.managers();
        let own = match member.manager() {
            Some(manager) => Some(manager.renew_own(&join::again(identity)?).await),
            None => None,
        };
        match own {
            Some(Ok(joined)) => Ok(Identity { certificate: joined.certificate, ..identity.clone() }),
            Some(Err(error)) if known.is_empty() => Err(error.into()),
            _ => {
                let endpoint = member.network.bulk().context("this node has no identity")?;
                Ok(join::renew(identity, endpoint, &known).await.map(|(renewed, _)| renewed)?)
            }
        }
    }

    /// Writes it down, unless this node has become another one, or has another certificate, meanwhile.
    async fn take(&self, old: &Identity, new: &Identity) -> Result<()> {
        let _turn = self.transition.lock().await;
        let member = self.member().context("this node has left the swarm")?;
        let now = self.identity(&member.record.get())?;
        if (now.node, &now.certificate, &now.root) != (old.node, &old.certificate, &old.root) {
            bail!("this node's identity has changed meanwhile");
        }
        // Its keys may be sealed otherwise by now.
        let taken = Identity { certificate: new.certificate.clone(), root: new.root.clone(), ..now };
        taken.save(&self.paths.data_root).context("the identity cannot be written")
    }
}
