//! The members of Raft, kept as the state asks: one change at a time, beside the proposals.
//!
//! Owns: what the leader sees of Raft, and the change that is under way. Invariants: a change that does not come to its end (no quorum) holds
//! up nothing but the next change; the order is decided elsewhere (`planner::membership`).

use crate::raft::types::{RaftId, Types};
use crate::supervisor::RaftOf;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft::type_config::async_runtime::AsyncRuntime;
use openraft::{ChangeMembers, Instant, RaftMetrics};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::entry::Change;
use wsw_planner::Store;
use wsw_planner::membership::{self, Seen, Step};

/// A manager that has not answered for so long is not reachable: several heartbeats, and a pause of a busy machine.
const HEARD: Duration = Duration::from_secs(2);
/// Entries that a member may lack and still count as caught up: it has them with the next message.
const LAG: u64 = 64;
/// A hand-over takes one message and an election; longer means that it failed.
const HAND_OVER: Duration = Duration::from_secs(2);

/// The change that is under way.
#[derive(Default)]
pub struct Members {
    running: Option<AbortOnDropHandle<()>>,
}

impl Members {
    /// Begins the next change, if there is one; what it asks of the state is for the log.
    pub fn step<RT: AsyncRuntime>(&mut self, raft: &RaftOf<RT>, view: &Store, full: bool) -> Vec<Change> {
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return Vec::new();
        }
        self.running = None;
        let Some(step) = membership::next(view, &Seen { full, ..seen(raft) }) else { return Vec::new() };
        tracing::info!(?step, "the managers change");
        if let Step::Clear(node) = step {
            let cleared = view.node(&node).map(|node| {
                let mut node = (**node).clone();
                node.manager = None;
                Change::PutNode(Box::new(node))
            });
            return cleared.into_iter().collect();
        }
        let raft = raft.clone();
        self.running = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(reason) = carry_out(&raft, step).await {
                tracing::info!(reason, "the managers stay as they are; it is tried again");
            }
        })));
        Vec::new()
    }

    /// Completes when the change under way is over; never without one.
    pub async fn over(&mut self) {
        match &mut self.running {
            Some(running) => {
                let _ended = running.await;
                self.running = None;
            }
            None => std::future::pending().await,
        }
    }
}

async fn carry_out<RT: AsyncRuntime>(raft: &RaftOf<RT>, step: Step) -> Result<(), String> {
    let (change, retain) = match step {
        Step::Settle => (ChangeMembers::AddVoterIds(BTreeSet::new()), false),
        Step::Learn(id, addr) => (ChangeMembers::AddNodes(BTreeMap::from([(id, BasicNode { addr })])), true),
        Step::Promote(id) => (ChangeMembers::AddVoterIds(BTreeSet::from([id])), true),
        Step::Dismiss(id) => (ChangeMembers::RemoveVoters(BTreeSet::from([id])), false),
        Step::Forget(id) => (ChangeMembers::RemoveNodes(BTreeSet::from([id])), false),
        Step::HandOver(to) => return transfer(raft, to).await,
        Step::Clear(_) => return Ok(()),
    };
    raft.change_membership(change, retain).await.map(drop).map_err(|err| err.to_string())
}

/// Makes another manager lead and waits until it does.
async fn transfer<RT: AsyncRuntime>(raft: &RaftOf<RT>, to: RaftId) -> Result<(), String> {
    raft.trigger().transfer_leader(to).await.map_err(|err| err.to_string())?;
    let mut metrics = raft.metrics();
    let taken = async {
        while raft.is_leader() || metrics.borrow_watched().current_leader != Some(to) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(HAND_OVER, taken).await.map_err(|_| format!("manager {to} did not take over in time"))
}

/// A leader that stops lets the best of the others lead at once.
pub async fn hand_over<RT: AsyncRuntime>(raft: &RaftOf<RT>) {
    if raft.is_leader()
        && let Some(heir) = membership::heir(&seen(raft), |_| true)
        && let Err(reason) = transfer(raft, heir).await
    {
        tracing::info!(reason, "an election decides who leads next");
    }
}

/// What the leader sees.
pub fn seen<RT: AsyncRuntime>(raft: &RaftOf<RT>) -> Seen {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    let own = metrics.id;
    let heard = heard(&metrics);
    let replication = metrics.replication.as_ref();
    let matched = |id: &RaftId| replication.and_then(|replication| replication.get(id)).and_then(Option::as_ref).map_or(0, |matched| matched.index);
    let last = metrics.last_log_index.unwrap_or(0);
    let all: BTreeSet<RaftId> = membership.nodes().map(|(id, _)| *id).collect();
    let voters: BTreeSet<RaftId> = membership.voter_ids().collect();
    Seen {
        own,
        learners: all.difference(&voters).copied().collect(),
        joint: membership.get_joint_config().len() > 1,
        caught_up: all.iter().filter(|id| **id == own || matched(id) + LAG >= last).copied().collect(),
        heard: all.iter().filter(|id| **id == own || heard.contains(id)).copied().collect(),
        voters,
        full: false,
    }
}

/// Managers that cannot be counted on: those that do not answer, and those that do not vote yet.
pub fn silent<RT: AsyncRuntime>(raft: &RaftOf<RT>, view: &Store) -> Vec<RaftId> {
    let seen = seen(raft);
    let managers = view.nodes().filter_map(|node| node.manager.as_ref()).map(|manager| manager.raft_id);
    managers.filter(|id| !seen.voters.contains(id) || !seen.heard.contains(id)).collect()
}

fn heard<RT: AsyncRuntime>(metrics: &RaftMetrics<Types<RT>>) -> BTreeSet<RaftId> {
    let acknowledged = metrics.heartbeat.iter().flatten();
    acknowledged.filter(|(_, at)| at.as_ref().is_some_and(|at| at.into_inner().elapsed() < HEARD)).map(|(id, _)| *id).collect()
}
