//! One round of the leader: a draft on the applied state, its entries through Raft, the answers.
//!
//! Invariants: a write is answered by the entry that names its request; when an entry is refused or lost the rest of the draft is not
//! proposed, what workers said goes into the next round, and writes are worked out again on the new state.

use super::inbox::{Queued, Reply};
use super::{Exit, Leader, members};
use crate::raft::types::{Command, Types};
use crate::supervisor::{NO_LEADER, describe};
use openraft::error::{ClientWriteError, RaftError};
use openraft::type_config::async_runtime::AsyncRuntime;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::warn;
use wsw_api::Error;
use wsw_api::entry::{Applied, Entry, Outcome};
use wsw_api::id::RequestId;
use wsw_planner::Draft;
use wsw_planner::control::check_demotion;

/// Writes by the request that they wait for (a client that retries waits twice).
type Waiting = BTreeMap<RequestId, Vec<Queued>>;
type ProposeError<RT> = RaftError<Types<RT>, ClientWriteError<Types<RT>>>;

impl<RT: AsyncRuntime> Leader<'_, RT> {
    /// Works out and proposes all that is due. Nothing due costs nothing.
    pub(super) async fn round(&mut self) -> Result<(), Exit> {
        if self.node.space.is_low() && !self.node.space.restore() {
            self.refuse_writes();
            return Ok(());
        }
        let now = self.clock.now();
        if self.writes.is_empty() && self.changes.is_empty() && !self.agenda.is_due(now) {
            return Ok(());
        }
        let applied = self.view.store();
        let mut draft = Draft::new(&applied, now);
        draft.change(self.changes.clone());
        let mut waiting = Waiting::new();
        for queued in std::mem::take(&mut self.writes) {
            let answer = match applied.outcome(&queued.request.id) {
                Some(outcome) => Ok(outcome),
                None => match self.write(&mut draft, &queued) {
                    Ok(_) => {
                        waiting.entry(queued.request.id).or_default().push(queued);
                        continue;
                    }
                    Err(refused) => Err(refused),
                },
            };
            let _gone = queued.reply.send(Reply::Answer(answer));
        }
        draft.plan(&mut self.agenda, &mut || self.ids.mint());
        self.propose_all(draft.finish(), waiting).await
    }

    fn write(&mut self, draft: &mut Draft, queued: &Queued) -> wsw_api::Result<Outcome> {
        check_demotion(draft.view(), &members::seen(&self.node.raft), &queued.request.write)?;
        draft.write(&queued.request, &mut || self.ids.mint())
    }

    async fn propose_all(&mut self, entries: Vec<Entry>, mut waiting: Waiting) -> Result<(), Exit> {
        for entry in entries {
            let requests: Vec<_> = entry.requests.clone();
            let proposed = Box::pin(self.node.raft.client_write(Command(Arc::new(entry)))).await;
            match proposed.map(|response| response.data) {
                Ok(Applied::Done) => {
                    for (id, outcome) in requests {
                        for queued in waiting.remove(&id).into_iter().flatten() {
                            let _gone = queued.reply.send(Reply::Answer(Ok(outcome.clone())));
                        }
                    }
                }
                Ok(Applied::Refused(err)) => {
                    warn!(%err, "an entry was refused; it is worked out again");
                    self.agenda.mark_all();
                    self.retry(requests.iter().map(|(id, _)| *id), waiting, &err);
                    self.applied();
                    return Ok(());
                }
                Err(err) => return Err(self.lost(&requests.iter().map(|(id, _)| *id).collect::<Vec<_>>(), waiting, &err)),
            }
        }
        self.changes.clear();
        self.workers.committed();
        self.applied();
        Ok(())
    }

    /// Lets agenda and sessions know what the applied entries changed.
    fn applied(&mut self) {
        let (store, touched) = (self.view.store(), self.view.take_touched());
        self.agenda.touch(&touched);
        self.workers.touched(&store, &touched);
        if touched.cluster {
            self.workers.set_heartbeat(super::heartbeat(&store), self.clock.now());
        }
    }

    /// The refused entry's writes go back to their senders, who send them again; those of later entries too.
    fn retry(&mut self, refused: impl Iterator<Item = RequestId>, mut waiting: Waiting, err: &Error) {
        for queued in refused.filter_map(|id| waiting.remove(&id)).flatten() {
            let _gone = queued.reply.send(Reply::NotYet(err.clone()));
        }
        self.writes.extend(waiting.into_values().flatten());
    }

    /// Raft did not answer for an entry.
    fn lost(&mut self, proposed: &[RequestId], waiting: Waiting, err: &ProposeError<RT>) -> Exit {
        let unknown = !matches!(err, RaftError::APIError(ClientWriteError::ForwardToLeader(_)));
        let reason = describe(err);
        for (id, queued) in waiting.into_iter().flat_map(|(id, queued)| queued.into_iter().map(move |queued| (id, queued))) {
            let reply = if unknown && proposed.contains(&id) { Reply::Unknown(reason.clone()) } else { Reply::NotYet(Error::unavailable(NO_LEADER)) };
            let _gone = queued.reply.send(reply);
        }
        match err {
            RaftError::APIError(_) => Exit::Lost,
            RaftError::Fatal(_) => Exit::Failed(reason),
        }
    }

    /// The disk is full: says so, at once.
    fn refuse_writes(&mut self) {
        for queued in std::mem::take(&mut self.writes) {
            let full = Error::unavailable("no space left on device: the manager's state cannot grow; free some space, writes then go on by themselves");
            let _gone = queued.reply.send(Reply::Answer(Err(full)));
        }
    }
}
