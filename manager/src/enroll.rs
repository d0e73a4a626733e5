//! A manager's place among the managers: its Raft id and address are told to the leader until the state has them.
//!
//! Owns: when it asks, and whom. One way for a new manager, a promoted one, one whose folder was lost and one that has moved.
//! Never: makes it a member of Raft (the leader does).

use crate::leader::clock;
use crate::manager::{Inner, Manager, internal};
use crate::raft::wire::{Ask, Reply, Written};
use openraft::type_config::async_runtime::AsyncRuntime;
use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;
use wsw_api::control::{Request, Write};
use wsw_api::id::RequestId;
use wsw_api::object::ManagerStatus;
use wsw_api::spec::NodeRole;

/// Between two tries, and two looks at whether one is needed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// One manager is asked for so long.
const LIMIT: Duration = Duration::from_secs(6);

/// Runs as long as the manager.
pub async fn keep<RT: AsyncRuntime>(manager: Weak<Inner<RT>>, remotes: Vec<SocketAddr>) {
    let mut pause = PAUSE.0;
    loop {
        let Some(inner) = manager.upgrade() else { return };
        let (own, stop) = (Manager(inner), {
            let Some(inner) = manager.upgrade() else { return };
            inner.stop.clone()
        });
        if own.is_enrolled() || enroll(&own, &remotes).await {
            pause = PAUSE.1;
        }
        drop(own);
        tokio::select! { biased; () = stop.cancelled() => return, () = tokio::time::sleep(pause) => {} }
        pause = (pause * 2).min(PAUSE.1);
    }
}

impl<RT: AsyncRuntime> Manager<RT> {
    fn record(&self) -> ManagerStatus {
        ManagerStatus { raft_id: self.raft_id(), addr: self.0.addr.get().to_string() }
    }

    /// True when the state has what there is to say, or wants to hear nothing.
    fn is_enrolled(&self) -> bool {
        let store = self.store();
        let node = store.node(&self.node_id());
        node.is_some_and(|node| node.spec.role != NodeRole::Manager || node.manager == Some(self.record()))
    }
}

async fn enroll<RT: AsyncRuntime>(manager: &Manager<RT>, remotes: &[SocketAddr]) -> bool {
    let ManagerStatus { raft_id, addr } = manager.record();
    let write = Write::EnrollManager { id: manager.node_id(), raft_id, addr };
    // A member of Raft knows the leader by itself.
    if manager.leader().is_some() {
        return manager.write(write).await.is_ok();
    }
    let Ok(id) = clock::id(&*manager.0.outside).map(RequestId::from_bytes).map_err(internal) else { return false };
    let ask = Ask::Write(Box::new(Request { id, write }));
    let own = manager.0.addr.get();
    let mut known: Vec<SocketAddr> = crate::asking::peers(&manager.store()).iter().filter_map(|peer| peer.addr.parse().ok()).collect();
    known.extend(remotes);
    for remote in known.into_iter().filter(|remote| *remote != own) {
        match manager.0.links.ask_at(remote, &ask, LIMIT).await {
            Ok(Reply::Write(Written::Answer(Ok(_)))) => return true,
            Ok(Reply::Write(Written::Answer(Err(refusal)))) => tracing::info!(%remote, %refusal, "this manager is not taken"),
            Ok(other) => tracing::debug!(%remote, ?other, "this manager is not enrolled yet"),
            Err(failure) => tracing::debug!(%failure, "this manager is not enrolled yet"),
        }
    }
    false
}
