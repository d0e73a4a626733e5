//! The agent: one loop that owns the tasks and the session with the leader.
//!
//! ```text
//!  commands ─┐                                   ┌─► Tasks (set, drivers, disk)
//!  frames ───┼─► next() ─► Event ─► apply(event) ┼─► session frames
//!  disk ─────┤                                   ├─► ingress table
//!  drivers ──┘                                   └─► description
//! ```
//! Owns: the order of things. Invariants: tasks run on whether a session exists or not; a new session replaces the old one, whose
//! frames are never read again; nothing in the loop waits for the leader or the disk.
//! Never: runs a task itself.

use crate::board::Board;
use crate::disk::Written;
use crate::ingress::{self, Ingress, Problem};
use crate::seam::Executor;
use crate::session::{Received, Session};
use crate::tasks::{Tasks, Work};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use wsw_api::object::NodeDescription;
use wsw_api::session::{Goodbye, ManagerFrame, WorkerFrame};
use wsw_api::trust::Issuer;
use wsw_api::{NodeId, SessionId, TaskId};

/// How long the last frame may wait for a leader that does not read.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a leaving node waits for its tasks to end: SIGKILL takes effect at once or not at all.
const LEAVE: Duration = Duration::from_secs(30);
/// How long a stopping daemon waits for the disk.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// How soon the ports that are published on this node only follow the states of its tasks.
const HOST_PORTS: Duration = Duration::from_millis(50);
/// The least time between two batches of statuses. A lone change goes at once; when thousands of tasks start, each entry of the log costs the
/// node more than its rows do, and only the newest status of a task is sent.
const REST: Duration = Duration::from_millis(10);
/// A session that is not welcomed is no session; who connects us tries again.
const WELCOME: Duration = Duration::from_secs(10);

/// What the handle asks for.
pub enum Command {
    /// End the loop; tasks keep running.
    Stop(oneshot::Sender<()>),
    /// End all tasks, then the loop.
    Leave(oneshot::Sender<()>),
    /// Show an ended task no more.
    PutAway(TaskId, oneshot::Sender<()>),
    /// Describe the node with this address.
    Announce(String),
    /// Tell the leader of this root and of who issued the node's certificate.
    Trust(String, Issuer),
}

/// The channel ends of a session that is to begin: one place, the newest wins.
#[derive(Debug, Default)]
pub struct Connections {
    next: Mutex<Option<Ends>>,
    came: Notify,
    /// The agent is gone: whoever comes now finds both channels closed.
    over: AtomicBool,
}

/// Frames out, frames in.
pub type Ends = (mpsc::Sender<WorkerFrame>, mpsc::Receiver<ManagerFrame>);

impl Connections {
    /// Puts the ends of a new session there.
    pub fn put(&self, ends: Ends) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (!self.over.load(Ordering::SeqCst)).then_some(ends);
        drop(next);
        self.came.notify_one();
    }

    fn close(&self) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.over.store(true, Ordering::SeqCst);
        *next = None;
    }

    async fn next(&self) -> Ends {
        loop {
            let ends = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(ends) = ends {
                return ends;
            }
            self.came.notified().await;
        }
    }
}

struct Link {
    session: Session,
    tx: mpsc::Sender<WorkerFrame>,
    rx: mpsc::Receiver<ManagerFrame>,
    /// When silence must be broken, or the welcome is overdue.
    deadline: Instant,
    /// Until then statuses gather.
    rest: Instant,
}

impl Link {
    /// Until when the statuses that wait have to, if they have.
    fn resting(&self, board: &Board) -> Option<Instant> {
        (self.session.waits(board) && Instant::now() < self.rest).then_some(self.rest)
    }
}

/// See the module's page.
pub struct Agent {
    pub node: NodeId,
    pub boot: SessionId,
    pub tasks: Tasks,
    pub board: Arc<Board>,
    pub executor: Arc<dyn Executor>,
    pub ingress: Ingress,
    pub base: NodeDescription,
    pub description: watch::Sender<Arc<NodeDescription>>,
    pub connected: watch::Sender<bool>,
    pub connections: Arc<Connections>,
    pub commands: mpsc::Receiver<Command>,
}

/// The loop at work.
struct Loop {
    agent: Agent,
    link: Option<Link>,
    problems: watch::Receiver<Arc<Vec<Problem>>>,
    disk_problem: Option<String>,
    publish_at: Option<Instant>,
}

/// What can happen.
enum Event {
    Command(Option<Command>),
    Connect(Ends),
    Frame(Option<ManagerFrame>),
    /// There is room for the frame that is due; none when the channel is closed.
    Room(Option<mpsc::OwnedPermit<WorkerFrame>>),
    /// The session's deadline.
    Deadline,
    Work(Work),
    RetryDisk,
    /// Time to look which ports of this node's own tasks are served.
    Publish,
    /// Statuses have gathered for long enough.
    Rested,
    Statuses,
    Problems,
}

impl Agent {
    /// Adopts, then runs until it is told to stop.
    pub async fn run(self) {
        let connections = Arc::clone(&self.connections);
        let problems = self.ingress.problems();
        let mut run = Loop { agent: self, link: None, problems, disk_problem: None, publish_at: None };
        run.agent.tasks.adopt().await;
        run.publish();
        // A port that could not be bound while the tasks were adopted.
        run.problems.mark_changed();
        let last = loop {
            match run.next().await {
                Event::Command(Some(Command::PutAway(id, done))) => {
                    run.agent.tasks.put_away(id);
                    // Nobody waiting any more is no error.
                    let _ = done.send(());
                }
                Event::Command(Some(Command::Announce(addr))) => {
                    run.agent.base.addr = addr;
                    run.describe();
                }
                Event::Command(Some(Command::Trust(root, issuer))) => {
                    (run.agent.base.trust_root, run.agent.base.issuer) = (root, issuer);
                    run.describe();
                }
                Event::Command(command) => break command,
                event => run.apply(event),
            }
        };
        connections.close();
        match last {
            Some(Command::Leave(done)) => run.leave(done).await,
            Some(Command::Stop(done)) => run.stop(done).await,
            Some(Command::PutAway(..) | Command::Announce(_) | Command::Trust(..)) | None => run.stop(oneshot::channel().0).await,
        }
    }
}

impl Loop {
    async fn next(&mut self) -> Event {
        let Self { agent, link, problems, publish_at, .. } = self;
        let Agent { tasks, board, commands, connections, .. } = agent;
        let resting = link.as_ref().and_then(|link| link.resting(board));
        let (frame, room, deadline) = match link {
            None => (None, None, None),
            Some(Link { session, tx, rx, deadline, .. }) => {
                let room = session.due(board, resting.is_some()).then(|| tx.clone().reserve_owned());
                (Some(rx.recv()), room, Some(*deadline))
            }
        };
        let retry = tasks.disk.retry_at();
        // Who posts while statuses gather need not wake anybody; the note of it is kept.
        let changed = resting.is_none().then(|| board.changed.notified());
        tokio::select! {
            command = commands.recv() => Event::Command(command),
            ends = connections.next() => Event::Connect(ends),
            frame = maybe(frame) => Event::Frame(frame),
            room = maybe(room) => Event::Room(room.ok()),
            work = tasks.work() => Event::Work(work),
            () = at(deadline) => Event::Deadline,
            () = at(retry) => Event::RetryDisk,
            () = at(*publish_at) => Event::Publish,
            () = at(resting) => Event::Rested,
            () = maybe(changed) => Event::Statuses,
            Ok(()) = problems.changed() => Event::Problems,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Connect((tx, rx)) => self.connect(tx, rx),
            Event::Frame(Some(frame)) => self.receive(frame),
            Event::Frame(None) | Event::Room(None) => self.disconnect("closed"),
            Event::Room(Some(permit)) => self.send(permit),
            Event::Deadline => self.deadline(),
            Event::Work(Work::Written(written)) => self.written(written),
            Event::Work(Work::Ended(id)) => self.agent.tasks.driver_done(id),
            Event::RetryDisk => self.agent.tasks.kick(),
            Event::Publish => self.publish(),
            Event::Rested => {}
            Event::Statuses => self.statuses(),
            Event::Problems => self.problems(),
            // Taken out by the caller: they may end the loop.
            Event::Command(_) => {}
        }
    }

    fn connect(&mut self, tx: mpsc::Sender<WorkerFrame>, rx: mpsc::Receiver<ManagerFrame>) {
        self.disconnect("replaced by a new session");
        let session = Session::new(self.agent.node, self.agent.boot);
        self.link = Some(Link { session, tx, rx, deadline: Instant::now() + WELCOME, rest: Instant::now() });
    }

    fn disconnect(&mut self, reason: &str) {
        let Some(link) = self.link.take() else { return };
        tracing::info!(reason, "the session with the leader is over; tasks keep running");
        self.agent.board.requeue(link.session.unconfirmed());
        self.agent.connected.send_replace(false);
    }

    fn receive(&mut self, frame: ManagerFrame) {
        let Some(link) = self.link.as_mut() else { return };
        match link.session.receive(frame) {
            Received::Nothing => {}
            Received::Open => {
                link.deadline = Instant::now() + link.session.silence().unwrap_or(WELCOME);
                self.agent.connected.send_replace(true);
            }
            Received::Set(set) => {
                if self.agent.tasks.apply(set) {
                    self.publish();
                }
                self.statuses();
            }
            Received::Committed(sent) => self.agent.tasks.committed(&sent),
            Received::Over(reason) => self.disconnect(&reason),
        }
    }

    fn send(&mut self, permit: mpsc::OwnedPermit<WorkerFrame>) {
        let Some(link) = self.link.as_mut() else { return };
        let description = Arc::clone(&self.agent.description.borrow());
        if let Some(frame) = link.session.next(&self.agent.board, &description) {
            if let WorkerFrame::Statuses { .. } = &frame {
                link.rest = Instant::now() + REST;
            }
            permit.send(frame);
            if let Some(silence) = link.session.silence() {
                link.deadline = Instant::now() + silence;
            }
        }
    }

    fn deadline(&mut self) {
        let Some(link) = self.link.as_mut() else { return };
        match link.session.silence() {
            Some(silence) => {
                link.session.beat();
                link.deadline = Instant::now() + silence;
            }
            None => self.disconnect("the leader did not welcome us in time"),
        }
    }

    fn written(&mut self, written: Written) {
        let problem = written.error.as_ref().map(|error| format!("assignments cannot be written: {error}"));
        if problem != self.disk_problem {
            problem.iter().for_each(|problem| tracing::error!("{problem}"));
            self.disk_problem = problem;
            self.describe();
        }
        self.agent.tasks.written(written);
        self.agent.tasks.kick();
    }

    /// Ports that are published on a task's own node come and go with its tasks; looked at soon, not for each status.
    fn statuses(&mut self) {
        if self.publish_at.is_none() && self.agent.tasks.has_host_ports() {
            self.publish_at = Some(Instant::now() + HOST_PORTS);
        }
    }

    fn publish(&mut self) {
        self.publish_at = None;
        self.agent.ingress.set(self.agent.tasks.table());
    }

    fn problems(&mut self) {
        let by_service = Problem::by_service(&self.problems.borrow_and_update());
        self.agent.board.set_problems(by_service);
        self.describe();
    }

    fn describe(&mut self) {
        let mut problems: Vec<String> = self.problems.borrow().iter().map(Problem::to_string).collect();
        problems.extend(self.disk_problem.clone());
        let description = described(&self.agent.base, &*self.agent.executor, problems);
        let changed = self.agent.description.send_if_modified(|current| {
            let differs = **current != description;
            if differs {
                *current = Arc::new(description);
            }
            differs
        });
        if let Some(link) = self.link.as_mut().filter(|_| changed) {
            link.session.describe();
        }
    }

    async fn goodbye(&mut self, why: Goodbye) {
        let Some(link) = self.link.take() else { return };
        if tokio::time::timeout(GOODBYE, link.tx.send(WorkerFrame::Goodbye(why))).await.is_err() {
            tracing::debug!("the leader did not take our goodbye in time");
        }
        self.agent.connected.send_replace(false);
    }

    async fn stop(mut self, done: oneshot::Sender<()>) {
        self.goodbye(Goodbye::Restarting).await;
        // What is running is written to its end; what fails then is written again at the next start's first change.
        let _ = tokio::time::timeout(LAST_WRITE, self.last_write()).await;
        self.agent.ingress.stop().await;
        let _ = done.send(());
    }

    async fn last_write(&mut self) {
        let tasks = &mut self.agent.tasks;
        tasks.kick();
        while tasks.disk.is_writing() {
            let written = tasks.disk.written().await;
            if written.error.is_some() {
                return;
            }
            tasks.kick();
        }
    }

    async fn leave(mut self, done: oneshot::Sender<()>) {
        self.goodbye(Goodbye::Leaving).await;
        self.agent.ingress.set(ingress::Table::default());
        let tasks = &mut self.agent.tasks;
        tasks.kill_all();
        let ending = async {
            while !tasks.is_idle() {
                match tasks.work().await {
                    Work::Ended(id) => tasks.driver_done(id),
                    Work::Written(written) => tasks.written(written),
                }
            }
            tasks.reaped().await;
        };
        if tokio::time::timeout(LEAVE, ending).await.is_err() {
            tracing::error!("some tasks did not end in time; the next start ends what is left");
        }
        let _ = tokio::time::timeout(LAST_WRITE, self.last_write()).await;
        self.agent.ingress.stop().await;
        self.agent.tasks.wipe().await;
        let _ = done.send(());
    }
}

/// Engine label that says what runs containers on a node, or why it has none.
const CONTAINERS_LABEL: &str = "wsw.containers";
/// The one that says how guests are separated.
const ISOLATION_LABEL: &str = "wsw.wasm.isolation";

/// What the node says of itself.
pub fn described(base: &NodeDescription, executor: &dyn Executor, problems: Vec<String>) -> NodeDescription {
    let capabilities = executor.describe();
    let mut description = base.clone();
    for platform in capabilities.platforms {
        if !description.platforms.contains(&platform) {
            description.platforms.push(platform);
        }
    }
    for plugin in capabilities.plugins {
        if !description.plugins.contains(&plugin) {
            description.plugins.push(plugin);
        }
    }
    if !capabilities.isolation.is_empty() {
        // Where `docker info` and `docker node inspect --pretty` show it.
        description.engine_labels.insert(ISOLATION_LABEL.into(), capabilities.isolation.clone());
        description.wasm_isolation = capabilities.isolation;
    }
    if !capabilities.containers.is_empty() {
        description.engine_labels.insert(CONTAINERS_LABEL.into(), capabilities.containers);
    }
    description.problems.extend(problems);
    description
}

async fn maybe<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
