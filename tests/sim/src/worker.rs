//! A model worker: dials managers until one leads, and keeps a session with it as the real one does.
//!
//! Owns: one start of a worker's process. Invariants: frames of one session pass in order or the session is over; a silent one is given up.

use crate::chance;
use crate::host::Common;
use crate::net::SILENT;
use crate::net::forms::{decode, encode};
use crate::runtime::Machine;
use crate::tasks::Shared;
use crate::trace::event;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use wsw_api::id::{NodeId, SessionId};
use wsw_api::object::NodeDescription;
use wsw_api::session::{MAX_FRAMES, ManagerFrame, WorkerFrame};
use wsw_api::spec::{NodeRole, Platform, Resources};
use wsw_api::time::Time;
use wsw_manager::{Asks, Origin};
use wsw_net::Protocol;

/// Between two looks at the tasks.
pub const STEP: Duration = Duration::from_millis(100);
/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A node's worker: its tasks, and the process that there may be.
pub struct Worker {
    pub host: usize,
    pub node: NodeId,
    pub tasks: Shared,
    pub running: Option<Arc<Machine>>,
    common: Arc<Common>,
}

impl Worker {
    /// No process yet.
    pub fn new(host: usize, node: NodeId, common: Arc<Common>) -> Self {
        Self { host, node, tasks: Shared::default(), running: None, common }
    }

    /// Starts the process.
    pub fn start(&mut self) {
        let machine = Arc::new(Machine::default());
        let (common, tasks, host, node) = (self.common.clone(), self.tasks.clone(), self.host, self.node);
        let boot = SessionId::from_bytes(chance::id());
        event!(common.trace, "host {host}: its worker starts");
        let _runs = machine.spawn(async move { Session { common, tasks, host, node, boot }.keep().await });
        self.running = Some(machine);
    }

    /// Ends the process; what it started goes on.
    pub fn kill(&mut self) {
        if let Some(machine) = self.running.take() {
            event!(self.common.trace, "host {}: its worker is killed", self.host);
            machine.kill();
        }
    }
}

struct Session {
    common: Arc<Common>,
    tasks: Shared,
    host: usize,
    node: NodeId,
    boot: SessionId,
}

impl Session {
    async fn keep(self) {
        let mut hint = None;
        loop {
            let there: Vec<usize> = (0..16).filter(|host| self.common.net.door(*host).is_some()).collect();
            let to = hint.take().or_else(|| chance::one(&there));
            if let Some(to) = to {
                hint = self.with(to).await;
            }
            sleep(chance::millis(50, 300)).await;
        }
    }

    /// One session with a manager, to its end. Answers who leads when this one does not.
    async fn with(&self, to: usize) -> Option<usize> {
        let net = &self.common.net;
        if !net.pass(self.host, to).await {
            return None;
        }
        let door = net.door(to)?;
        door.manager.lets_in(&Asks { node: self.node, role: NodeRole::Worker, issued: Time(0) }, Protocol::Session).ok()?;
        if !door.manager.leads() {
            let leader = door.manager.managers(&self.node).leader;
            let heard = net.pass(to, self.host).await;
            return leader.filter(|_| heard).and_then(|leader| net.host_of(&leader));
        }
        let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, self.host as u8 + 1));
        let (up, mut down) = door.manager.connect(Some(Origin { node: self.node, addr: Box::new(move || addr) }));
        drop(door);
        let (send, mut sending) = mpsc::channel::<Vec<u8>>(MAX_FRAMES);
        let (receive, mut received) = mpsc::channel::<ManagerFrame>(MAX_FRAMES);
        let upwards = async {
            while let Some(frame) = sending.recv().await {
                if !net.pass(self.host, to).await || up.send(decode(&frame)).await.is_err() {
                    return;
                }
            }
        };
        let downwards = async {
            while let Some(frame) = down.recv().await {
                let frame = encode(&frame);
                if !net.pass(to, self.host).await || receive.send(decode(&frame)).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = upwards => {}
            () = downwards => {}
            () = self.talk(send, &mut received) => {}
            () = self.silence(to) => {}
        }
        event!(self.common.trace, "host {}: its session with host {to} is over", self.host);
        None
    }

    async fn talk(&self, send: mpsc::Sender<Vec<u8>>, received: &mut mpsc::Receiver<ManagerFrame>) {
        let hello = WorkerFrame::Hello { node: self.node, boot: self.boot, description: description(self.host) };
        if send.send(encode(&hello)).await.is_err() {
            return;
        }
        self.tasks.lock().unwrap().begin();
        let (mut seq, mut beat, mut welcome) = (0, Instant::now(), false);
        loop {
            let frame = tokio::select! {
                biased;
                frame = received.recv() => frame,
                () = sleep(STEP) => Some(ManagerFrame::Heartbeat { heartbeat_ns: 0 }),
            };
            match frame {
                None | Some(ManagerFrame::Refused { .. }) => return,
                Some(ManagerFrame::Welcome { .. }) => {
                    event!(self.common.trace, "host {}: its session begins", self.host);
                    welcome = true;
                }
                Some(ManagerFrame::Assignments(assignments)) => self.tasks.lock().unwrap().assign(assignments),
                Some(ManagerFrame::Committed { seq }) => self.tasks.lock().unwrap().committed(seq),
                Some(ManagerFrame::Heartbeat { .. } | ManagerFrame::Managers(_)) => {}
            }
            let rows = if welcome { self.tasks.lock().unwrap().statuses(seq + 1) } else { None };
            let frame = match rows {
                Some(rows) => {
                    seq += 1;
                    WorkerFrame::Statuses { seq, rows }
                }
                None if beat.elapsed() >= HEARTBEAT => WorkerFrame::Heartbeat,
                None => continue,
            };
            beat = Instant::now();
            if send.send(encode(&frame)).await.is_err() {
                return;
            }
        }
    }

    /// Ends when nothing has passed for long.
    async fn silence(&self, to: usize) {
        let mut heard = Instant::now();
        while heard.elapsed() < SILENT {
            sleep(Duration::from_millis(250)).await;
            if !self.common.net.is_cut(self.host, to) && !self.common.net.is_cut(to, self.host) {
                heard = Instant::now();
            }
        }
    }
}

/// What the node says of itself.
pub fn description(host: usize) -> Arc<NodeDescription> {
    let platform = Platform { os: "linux".into(), architecture: "amd64".into() };
    Arc::new(NodeDescription {
        hostname: format!("h{host}"),
        platform: platform.clone(),
        platforms: vec![platform],
        resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, pids: 0 },
        ..NodeDescription::default()
    })
}
