//! One session with the leader, without I/O: which frame is due, what a received frame means.
//!
//! ```text
//! hello → (welcome) → statuses, descriptions, heartbeats …  → goodbye
//! ```
//! Owns: the sequence numbers, the one batch of statuses in flight, the frames of a set until it is whole.
//! Invariants: a status counts as known only when `Committed` names its batch; one batch is in flight, what gathers meanwhile is
//! the next; nothing but the hello goes out before the welcome.
//! Never: reads a channel or a clock; a new session is a new value ([`crate::agent`] fences the old one by dropping it).

use crate::board::Board;
use std::sync::Arc;
use std::time::Duration;
use wsw_api::object::NodeDescription;
use wsw_api::session::{Assignments, MAX_STATUSES, ManagerFrame, WorkerFrame};
use wsw_api::{NodeId, SessionId, TaskId, Time};

/// Tasks of one set whose frames are being put together; a leader that sends more is broken.
const MAX_SET: usize = 250_000;
/// What a leader may ask for as heartbeat period: faster is a flood, slower is no heartbeat.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(60));

/// Tasks and the moments of the statuses that were sent for them.
pub type Sent = Vec<(TaskId, Time)>;

/// What a frame means for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Nothing,
    /// The leader has welcomed us.
    Open,
    /// A whole set, or a difference.
    Set(Assignments),
    /// These statuses are in the log.
    Committed(Sent),
    /// The session is over.
    Over(String),
}

/// See the module's page.
#[derive(Debug)]
pub struct Session {
    node: NodeId,
    boot: SessionId,
    greeted: bool,
    period: Option<Duration>,
    describe: bool,
    heartbeat: bool,
    next_seq: u64,
    in_flight: Option<(u64, Sent)>,
    assembling: Option<Assignments>,
}

impl Session {
    /// A session that has not said anything yet.
    pub fn new(node: NodeId, boot: SessionId) -> Self {
        Self { node, boot, greeted: false, period: None, describe: false, heartbeat: false, next_seq: 1, in_flight: None, assembling: None }
    }

    /// The silence after which a heartbeat is due; none before the welcome. Half a period: the leader reckons from the last frame, so what
    /// lies between it and this node's death is lost of the time in which the node may come back.
    pub fn silence(&self) -> Option<Duration> {
        self.period.map(|period| period / 2)
    }

    /// The description changed.
    pub fn describe(&mut self) {
        self.describe = self.greeted;
    }

    /// Nothing was sent for [`Self::silence`].
    pub fn beat(&mut self) {
        self.heartbeat = true;
    }

    /// True when [`Self::next`] has a frame; while the sender is `resting`, statuses alone are none.
    pub fn due(&self, board: &Board, resting: bool) -> bool {
        !self.greeted || (self.period.is_some() && (self.describe || self.heartbeat || (!resting && self.waits(board))))
    }

    /// True when there are statuses that could go out.
    pub fn waits(&self, board: &Board) -> bool {
        self.period.is_some() && self.in_flight.is_none() && board.has_pending()
    }

    /// The frame to send now.
    pub fn next(&mut self, board: &Board, description: &Arc<NodeDescription>) -> Option<WorkerFrame> {
        if !self.greeted {
            self.greeted = true;
            return Some(WorkerFrame::Hello { node: self.node, boot: self.boot, description: Arc::clone(description) });
        }
        self.period?;
        let frame = if std::mem::take(&mut self.describe) {
            Some(WorkerFrame::Describe(Arc::clone(description)))
        } else if let Some(frame) = self.statuses(board) {
            Some(frame)
        } else {
            self.heartbeat.then_some(WorkerFrame::Heartbeat)
        };
        self.heartbeat = false;
        frame
    }

    fn statuses(&mut self, board: &Board) -> Option<WorkerFrame> {
        if self.in_flight.is_some() {
            return None;
        }
        let rows = board.take(MAX_STATUSES);
        if rows.is_empty() {
            return None;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.in_flight = Some((seq, rows.iter().map(|(id, status)| (*id, status.at)).collect()));
        Some(WorkerFrame::Statuses { seq, rows })
    }

    /// Takes a frame in.
    pub fn receive(&mut self, frame: ManagerFrame) -> Received {
        match frame {
            ManagerFrame::Welcome { heartbeat_ns, .. } => {
                self.period = Some(Duration::from_nanos(heartbeat_ns).clamp(HEARTBEAT.0, HEARTBEAT.1));
                Received::Open
            }
            ManagerFrame::Heartbeat { heartbeat_ns } => {
                self.period = Some(Duration::from_nanos(heartbeat_ns).clamp(HEARTBEAT.0, HEARTBEAT.1));
                // One at once: what was due at the old pace may be late for the new one.
                self.heartbeat = true;
                Received::Nothing
            }
            ManagerFrame::Assignments(part) => self.assemble(part),
            ManagerFrame::Committed { seq } => match self.in_flight.take_if(|(sent, _)| *sent <= seq) {
                Some((_, rows)) => Received::Committed(rows),
                None => Received::Nothing,
            },
            ManagerFrame::Refused { reason } => Received::Over(reason),
            // For who carries the frames.
            ManagerFrame::Managers(_) => Received::Nothing,
        }
    }

    fn assemble(&mut self, part: Assignments) -> Received {
        let more = part.more;
        let whole = match self.assembling.take() {
            None => part,
            Some(mut set) => {
                set.templates.extend(part.templates);
                set.tasks.extend(part.tasks);
                set.removed.extend(part.removed);
                set.endpoints.extend(part.endpoints);
                set.auths.extend(part.auths);
                set.removed_endpoints.extend(part.removed_endpoints);
                set.peers.extend(part.peers);
                set.removed_peers.extend(part.removed_peers);
                set
            }
        };
        if whole.tasks.len() + whole.removed.len() > MAX_SET {
            return Received::Over(format!("a set of more than {MAX_SET} tasks"));
        }
        if more {
            self.assembling = Some(whole);
            return Received::Nothing;
        }
        Received::Set(whole)
    }

    /// The statuses whose fate is not known, when the session ends.
    pub fn unconfirmed(self) -> impl Iterator<Item = TaskId> {
        self.in_flight.into_iter().flat_map(|(_, rows)| rows).map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::tests::fake::{assigned, node_id, task_id};
    use wsw_api::{DesiredState, TaskState, TaskStatus};

    fn open() -> (Session, Board, Arc<NodeDescription>) {
        let description = Arc::new(NodeDescription::default());
        let board = Board::default();
        (1..=3).for_each(|n| board.add(&assigned(n, DesiredState::Running), true));
        let mut session = Session::new(node_id(1), SessionId::default());
        assert!(matches!(session.next(&board, &description), Some(WorkerFrame::Hello { .. })));
        let welcome = ManagerFrame::Welcome { session: SessionId::default(), heartbeat_ns: 1_000_000_000 };
        assert_eq!(session.receive(welcome), Received::Open);
        (session, board, description)
    }

    fn post(board: &Board, n: u8) {
        board.post(task_id(n), TaskStatus::new(TaskState::Running, clock::now(), "started"));
    }

    #[test]
    fn nothing_goes_out_before_the_welcome() {
        let board = Board::default();
        board.add(&assigned(1, DesiredState::Running), true);
        post(&board, 1);
        let mut session = Session::new(node_id(1), SessionId::default());
        session.next(&board, &Arc::default());
        session.beat();
        session.describe();
        assert!(!session.due(&board, false) && session.next(&board, &Arc::default()).is_none());
    }

    #[test]
    fn the_first_status_goes_at_once_and_the_next_batch_waits_for_the_answer() {
        let (mut session, board, description) = open();
        post(&board, 1);
        let Some(WorkerFrame::Statuses { seq: 1, rows }) = session.next(&board, &description) else { panic!("no statuses") };
        assert_eq!(rows.len(), 1);
        post(&board, 2);
        post(&board, 3);
        assert!(!session.due(&board, false) && session.next(&board, &description).is_none());
        assert_eq!(session.receive(ManagerFrame::Committed { seq: 0 }), Received::Nothing);
        assert!(matches!(session.receive(ManagerFrame::Committed { seq: 1 }), Received::Committed(rows) if rows.len() == 1));
        assert!(matches!(session.next(&board, &description), Some(WorkerFrame::Statuses { seq: 2, rows }) if rows.len() == 2));
        assert_eq!(session.unconfirmed().count(), 2);
    }

    #[test]
    fn while_the_sender_rests_statuses_gather_and_the_rest_goes_on() {
        let (mut session, board, description) = open();
        post(&board, 1);
        assert!(session.waits(&board) && !session.due(&board, true) && session.due(&board, false));
        session.beat();
        assert!(session.due(&board, true), "silence is broken in time");
        assert!(matches!(session.next(&board, &description), Some(WorkerFrame::Statuses { seq: 1, .. })), "and statuses do that");
        post(&board, 2);
        assert!(!session.waits(&board), "one batch is in flight");
    }

    #[test]
    fn a_heartbeat_is_sent_only_when_there_is_nothing_else_to_say() {
        let (mut session, board, description) = open();
        session.beat();
        session.describe();
        assert!(matches!(session.next(&board, &description), Some(WorkerFrame::Describe(_))));
        assert!(!session.due(&board, false));
        session.beat();
        assert_eq!(session.next(&board, &description), Some(WorkerFrame::Heartbeat));
        assert!(!session.due(&board, false));
    }

    #[test]
    fn a_new_heartbeat_period_counts_at_once() {
        let (mut session, board, description) = open();
        assert_eq!(session.receive(ManagerFrame::Heartbeat { heartbeat_ns: 5_000_000_000 }), Received::Nothing);
        assert_eq!(session.silence(), Some(Duration::from_millis(2_500)));
        assert_eq!(session.next(&board, &description), Some(WorkerFrame::Heartbeat));
    }

    #[test]
    fn a_set_counts_when_its_last_frame_is_there() {
        let (mut session, ..) = open();
        let part = |n, more| {
            ManagerFrame::Assignments(Assignments { complete: true, more, tasks: vec![assigned(n, DesiredState::Running)], ..Assignments::default() })
        };
        assert_eq!(session.receive(part(1, true)), Received::Nothing);
        assert!(matches!(session.receive(part(2, false)), Received::Set(set) if set.complete && set.tasks.len() == 2));
        assert!(matches!(session.receive(part(3, false)), Received::Set(set) if set.tasks.len() == 1));
    }

    #[test]
    fn a_senseless_heartbeat_period_is_bounded() {
        for (asked, got) in [(0, HEARTBEAT.0), (u64::MAX, HEARTBEAT.1)] {
            let mut session = Session::new(node_id(1), SessionId::default());
            session.receive(ManagerFrame::Welcome { session: SessionId::default(), heartbeat_ns: asked });
            assert_eq!(session.silence(), Some(got / 2));
        }
    }
}
