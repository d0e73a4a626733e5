//! Tests of the dispatcher: fencing, differences, deadlines.

use super::*;
use crate::fixture::{World, cluster, node, node_id, spec};
use wsw_api::session::MAX_TASKS;
use wsw_api::spec::{PortConfig, ServiceMode};
use wsw_api::task::{DesiredState, TaskState};
use wsw_api::time::MILLISECOND;

/// A world whose workers have sessions with a dispatcher that sees each applied entry.
struct Desk {
    world: World,
    sessions: Sessions,
    seen: u64,
}

impl Desk {
    fn new(nodes: u64) -> Self {
        Self { world: World::new(nodes), sessions: Sessions::new(Heartbeat::default()), seen: 0 }
    }

    fn hello(&mut self, number: u64) -> SessionId {
        let description = self.world.store.node(&node_id(number)).unwrap().description.clone();
        let (store, now) = (self.world.store.clone(), self.world.now);
        let boot = SessionId::default();
        let welcome = self.sessions.hello(&store, node_id(number), boot, &description, "127.0.0.1", now, &mut self.world.mint()).unwrap();
        self.commit(welcome.changes);
        welcome.session
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let entry = wsw_api::entry::Entry { time: self.world.now, changes, ..Default::default() };
        let mut touched = Touched::default();
        self.world.store.apply_touching(self.world.store.index() + 1, &entry, &mut touched);
        self.sessions.touched(&self.world.store, &touched);
        self.seen = self.world.store.index();
    }

    /// Tells the dispatcher of everything: what a difference of two snapshots touches.
    fn all_touched(&mut self) {
        let mut touched = Touched::default();
        for task in self.world.store.tasks() {
            touched.tasks_by_node.entry(task.node.unwrap()).or_default().push(task.id);
        }
        touched.services = self.world.store.all_services().map(|service| service.id).collect();
        self.sessions.touched(&self.world.store, &touched);
    }

    fn frames(&mut self, number: u64) -> Vec<Assignments> {
        self.sessions.frames(&self.world.store, node_id(number), self.world.now)
    }
}

#[test]
fn the_complete_set_comes_once_then_differences() {
    let mut desk = Desk::new(2);
    let web = desk.world.create(spec("web", 4));
    desk.hello(1);
    assert_eq!(desk.sessions.pending(desk.world.now), [node_id(1)]);
    let frames = desk.frames(1);
    assert_eq!(frames.len(), 1);
    assert!(frames[0].complete && !frames[0].more);
    assert_eq!((frames[0].tasks.len(), frames[0].templates.len()), (2, 1));
    assert!(desk.sessions.pending(desk.world.now).is_empty());
    desk.world.update(web, |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
    desk.all_touched();
    let frames = desk.frames(1);
    assert!(!frames[0].complete && frames[0].templates.is_empty());
    assert_eq!(frames[0].tasks.iter().map(|task| task.desired).collect::<Vec<_>>(), [DesiredState::Remove]);
    let gone = frames[0].tasks[0].id;
    desk.commit(vec![Change::RemoveTasks(vec![gone])]);
    assert_eq!(desk.frames(1)[0].removed, [gone]);
    assert!(desk.frames(1).is_empty());
    assert!(desk.frames(2).is_empty(), "no session, no frames");
}

#[test]
fn an_empty_set_is_said_and_a_large_one_is_cut() {
    let mut desk = Desk::new(1);
    desk.hello(1);
    let frames = desk.frames(1);
    assert_eq!(frames, [Assignments { complete: true, ..Assignments::default() }]);
    desk.world.create(spec("web", u64::try_from(MAX_TASKS).unwrap() + 1));
    desk.hello(1);
    let frames = desk.frames(1);
    assert_eq!(frames.iter().map(|frame| (frame.complete, frame.more, frame.tasks.len())).collect::<Vec<_>>(), [(true, true, MAX_TASKS), (true, false, 1)]);
}

#[test]
fn the_newer_session_fences_the_older() {
    let mut desk = Desk::new(1);
    let first = desk.hello(1);
    let second = desk.hello(1);
    assert_ne!(first, second);
    let (store, now) = (desk.world.store.clone(), desk.world.now);
    assert_eq!(store.session(&node_id(1)), Some(second));
    assert!(desk.sessions.receive(&store, node_id(1), first, WorkerFrame::Heartbeat, now).is_err());
    assert_eq!(desk.sessions.receive(&store, node_id(1), second, WorkerFrame::Heartbeat, now).unwrap(), Received::default());
    let unknown = desk.sessions.hello(&store, node_id(9), first, &node(9).description, "", now, &mut desk.world.mint());
    assert_eq!(unknown.unwrap_err().message, format!("node {} is not part of this cluster", node_id(9)));
}

#[test]
fn statuses_are_bounded_and_numbered() {
    let mut desk = Desk::new(1);
    let web = desk.world.create(spec("web", 1));
    let session = desk.hello(1);
    let task = desk.world.store.tasks_of_service(&web).next().unwrap().id;
    let (store, now) = (desk.world.store.clone(), desk.world.now);
    let mut status = TaskStatus::new(TaskState::Failed, now, "x");
    status.err = "é".repeat(2_000).into();
    let frame = WorkerFrame::Statuses { seq: 7, rows: vec![(task, status.clone())] };
    let received = desk.sessions.receive(&store, node_id(1), session, frame, now).unwrap();
    assert_eq!(received.seq, Some(7));
    desk.commit(received.changes);
    assert_eq!(desk.world.store.task(&task).unwrap().status.err.len(), MAX_STATUS_TEXT);
    let frame = WorkerFrame::Statuses { seq: 8, rows: vec![(task, status); MAX_STATUSES + 1] };
    assert!(desk.sessions.receive(&store, node_id(1), session, frame, now).is_err());
}

#[test]
fn endpoints_follow_running_tasks_at_their_pace() {
    let mut desk = Desk::new(1);
    let mut wanted = spec("web", 2);
    wanted.endpoint.ports = vec![PortConfig { target: 80, published: 8080, ..PortConfig::default() }];
    let web = desk.world.create(wanted);
    desk.hello(1);
    desk.all_touched();
    let frames = desk.frames(1);
    assert_eq!(frames[0].endpoints[0].ports[0].published, 8080);
    assert_eq!(frames[0].endpoints[0].nodes, [(node_id(1), 0)], "to come");
    desk.world.settle();
    desk.all_touched();
    assert!(desk.frames(1).iter().all(|frame| frame.endpoints.is_empty()), "not within the pace");
    assert!(desk.sessions.pending(desk.world.now).is_empty());
    assert_eq!(desk.sessions.next_wake(), Some(desk.world.now.after(100 * MILLISECOND)));
    desk.world.now = desk.world.now.after(100 * MILLISECOND);
    assert_eq!(desk.sessions.pending(desk.world.now), [node_id(1)]);
    assert_eq!(desk.frames(1)[0].endpoints[0].nodes, [(node_id(1), 2)]);
    desk.world.write(wsw_api::control::Write::RemoveService { id: web }).unwrap();
    desk.all_touched();
    desk.world.now = desk.world.now.after(100 * MILLISECOND);
    let frames = desk.frames(1);
    assert_eq!(frames[0].removed_endpoints, [web]);
    assert_eq!(frames[0].tasks.len(), 2, "told to stop");
}

fn down(changes: &[Change]) -> Vec<NodeId> {
    let down = |change: &Change| match change {
        Change::NodeStatus { id, status } if status.state == NodeState::Down => Some(*id),
        _ => None,
    };
    changes.iter().filter_map(down).collect()
}

#[test]
fn silence_means_down_and_a_frame_means_alive() {
    let mut desk = Desk::new(4);
    let sessions: Vec<SessionId> = (1..=4).map(|number| desk.hello(number)).collect();
    let store = desk.world.store.clone();
    let start = desk.world.now;
    let late = start.after(2 * SECOND);
    for number in 2..=4 {
        let session = sessions[usize::try_from(number).unwrap() - 1];
        desk.sessions.receive(&store, node_id(number), session, WorkerFrame::Heartbeat, late).unwrap();
    }
    assert!(desk.sessions.expire(&store, start.after(3 * SECOND - 1)).is_empty());
    assert_eq!(desk.sessions.next_wake(), Some(start.after(3 * SECOND)));
    let changes = desk.sessions.expire(&store, start.after(3 * SECOND));
    assert_eq!(down(&changes), [node_id(1)]);
    assert_eq!(desk.sessions.take_ended().len(), 1);
    assert!(desk.sessions.receive(&store, node_id(1), sessions[0], WorkerFrame::Heartbeat, late).is_err(), "it must begin a new session");
}

#[test]
fn a_new_heartbeat_period_blames_nobody_for_the_old_one() {
    let mut desk = Desk::new(1);
    let session = desk.hello(1);
    let (store, start) = (desk.world.store.clone(), desk.world.now);
    let slow = Heartbeat { period: 5 * SECOND, ..Heartbeat::default() };
    assert!(desk.sessions.set_heartbeat(slow, start));
    assert!(!desk.sessions.set_heartbeat(slow, start), "once is enough");
    assert_eq!(desk.sessions.next_wake(), Some(start.after(15 * SECOND)));
    // Back to the short one: the worker may be in the middle of a long period.
    assert!(desk.sessions.set_heartbeat(Heartbeat::default(), start));
    assert!(desk.sessions.expire(&store, start.after(15 * SECOND - 1)).is_empty());
    desk.sessions.receive(&store, node_id(1), session, WorkerFrame::Heartbeat, start).unwrap();
    assert_eq!(down(&desk.sessions.expire(&store, start.after(3 * SECOND))), [node_id(1)]);
}

#[test]
fn a_leader_that_was_stalled_blames_nobody() {
    let mut desk = Desk::new(1);
    desk.hello(1);
    let store = desk.world.store.clone();
    let stalled = desk.world.now.after(60 * SECOND);
    assert!(desk.sessions.expire(&store, stalled).is_empty());
    assert_eq!(desk.sessions.next_wake(), Some(stalled.after(SECOND)));
    assert_eq!(down(&desk.sessions.expire(&store, stalled.after(SECOND))), [node_id(1)]);
}

#[test]
fn many_that_fall_silent_at_once_are_unknown_first() {
    let mut desk = Desk::new(9);
    for number in 1..=9 {
        desk.hello(number);
    }
    let start = desk.world.now;
    let changes = desk.sessions.expire(&desk.world.store.clone(), start.after(3 * SECOND));
    assert_eq!((changes.len(), down(&changes).len()), (9, 0));
    desk.commit(changes);
    let first = desk.sessions.next_wake().unwrap();
    assert_eq!(first, start.after(6 * SECOND));
    let mut lost = Vec::new();
    while let Some(at) = desk.sessions.next_wake() {
        let changes = desk.sessions.expire(&desk.world.store.clone(), at);
        assert!(changes.len() <= 1, "at a bounded rate");
        lost.extend(down(&changes));
    }
    assert_eq!(lost.len(), 9);
}

#[test]
fn goodbyes_say_why() {
    let mut desk = Desk::new(2);
    let (one, two) = (desk.hello(1), desk.hello(2));
    let (store, now) = (desk.world.store.clone(), desk.world.now);
    let leaving = desk.sessions.receive(&store, node_id(1), one, WorkerFrame::Goodbye(Goodbye::Leaving), now).unwrap();
    assert!(leaving.ended);
    assert_eq!(down(&leaving.changes), [node_id(1)]);
    let restarting = desk.sessions.receive(&store, node_id(2), two, WorkerFrame::Goodbye(Goodbye::Restarting), now).unwrap();
    assert!(down(&restarting.changes).is_empty());
    desk.commit(restarting.changes);
    assert_eq!(desk.world.store.node(&node_id(2)).unwrap().status.state, NodeState::Unknown);
    assert_eq!(desk.sessions.next_wake(), Some(now.after(30 * SECOND)));
    let store = desk.world.store.clone();
    assert_eq!(down(&desk.sessions.expire(&store, now.after(30 * SECOND))), [node_id(2)]);
}

#[test]
fn a_new_leader_waits_for_its_nodes() {
    let store = cluster(3);
    let mut sessions = Sessions::new(Heartbeat::default());
    let now = Time(100 * SECOND);
    let changes = sessions.lead(&store, now);
    assert_eq!((changes.len(), down(&changes).len()), (3, 0));
    assert_eq!(sessions.next_wake(), Some(now.after(8 * SECOND)));
    assert!(sessions.expire(&store, now.after(7 * SECOND)).is_empty());
    assert_eq!(down(&sessions.expire(&store, now.after(8 * SECOND))).len(), 3);
}

#[test]
fn a_removed_node_is_told() {
    let mut desk = Desk::new(1);
    let session = desk.hello(1);
    desk.commit(vec![Change::RemoveNode(node_id(1))]);
    let ended = desk.sessions.take_ended();
    assert_eq!(ended, [(node_id(1), session, "the node was removed from the cluster".to_owned())]);
    assert_eq!(desk.sessions.next_wake(), None);
}
