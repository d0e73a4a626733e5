//! Garbage on the wire: what no node sends, at a real daemon's port and on each kind of stream. The cluster and its tasks go on, the same
//! processes with the same sessions, and what it costs in memory is bounded.

use crate::harness::forge::{Claim, Forge, identity_text};
use crate::harness::stranger::Stranger;
use crate::harness::{Cluster, Node, guest, until};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use wsw_api::control::{Request, Write};
use wsw_api::session::WorkerFrame;
use wsw_manager::raft::stored::{StoredId, StoredVote};
use wsw_manager::raft::wire::{Append, Ask, Hello, Stored};
use wsw_net::{Connection, FrameReceiver, FrameSender, Protocol, dial_unknown};

/// Datagrams at each node.
const DATAGRAMS: usize = 20_000;
/// What a daemon may hold for garbage that is over, in KiB: the library's buffers, and what its allocator keeps.
const MOST: u64 = 96 << 10;

/// A sequence of bytes that nobody chose.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn some(&mut self, most: u64) -> Vec<u8> {
        (0..self.next() % most).map(|_| self.next() as u8).collect()
    }
}

/// A manager and a worker with a task each.
struct Given {
    cluster: Cluster,
    worker: String,
    sessions: usize,
    running: BTreeMap<String, i64>,
    pids: Vec<i32>,
    memory: Vec<u64>,
}

impl Given {
    fn new(cluster: Cluster) -> Self {
        cluster.load_everywhere("tick", &guest("tick"));
        cluster.manager.wsw(&["service", "create", "-d", "--name", "t", "--mode", "global", "tick"]).ok();
        let running = cluster.manager.wait_running("t", 2);
        let worker = cluster.workers[0].id();
        let sessions = cluster.sessions(&worker);
        let nodes = [&cluster.manager, &cluster.workers[0]];
        let (pids, memory) = (nodes.iter().map(|node| node.pid()).collect(), nodes.iter().map(|node| memory(node)).collect());
        Self { cluster, worker, sessions, running, pids, memory }
    }

    fn nodes(&self) -> [&Node; 2] {
        [&self.cluster.manager, &self.cluster.workers[0]]
    }

    /// All is as it was, and works.
    #[track_caller]
    fn is_well(&self, name: &str) {
        let manager = &self.cluster.manager;
        self.cluster.wait_states(&["ready"], 2);
        manager.wsw(&["service", "create", "-d", "--name", name, "--replicas", "4", "tick"]).ok();
        manager.wait_running(name, 4);
        manager.wsw(&["service", "rm", name]).ok();
        assert_eq!(manager.running("t"), self.running, "the same tasks run");
        assert_eq!(self.cluster.sessions(&self.worker), self.sessions, "no session ended");
        for (place, node) in self.nodes().into_iter().enumerate() {
            assert_eq!(node.pid(), self.pids[place]);
            assert!(!node.log().contains("panicked"), "{}", node.log());
            until("what was held for garbage to be let go", || {
                let now = memory(node);
                if now < self.memory[place] + MOST { Ok(()) } else { Err(format!("{} KiB, {} before", now, self.memory[place])) }
            });
        }
    }
}

/// KiB that a daemon has in memory.
fn memory(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("it runs");
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok()).expect("a size")
}

#[test]
fn datagrams_of_garbage_disturb_nobody() {
    let given = Given::new(Cluster::of(1));
    std::thread::scope(|scope| {
        for (place, node) in given.nodes().into_iter().enumerate() {
            let at: SocketAddr = node.remote().parse().expect("it is an address");
            scope.spawn(move || {
                let (socket, mut bytes) = (UdpSocket::bind((node.addr(), 0)).expect("a port is free"), Bytes(place as u64 + 1));
                for number in 0..DATAGRAMS {
                    let mut datagram = bytes.some(1_500);
                    // Heads as QUIC's are: long ones of versions that are known and not, with ids of all lengths, and short ones.
                    if let Some(head) = datagram.first_chunk_mut::<6>() {
                        let kind = head[0] & 0x3f;
                        match number % 4 {
                            0 => *head = [0xc0 | kind, 0, 0, 0, 1, bytes.next() as u8 % 24],
                            1 => *head = [0x80 | kind, 0x0a, 0x1a, 0x2a, 0x3a, 8],
                            2 => head[0] = 0x40 | kind,
                            _ => {}
                        }
                    }
                    // A full buffer loses some, as a network does.
                    let _lost = socket.send_to(&datagram, at);
                }
            });
        }
    });
    given.is_well("after");
}

/// What is said on a stream in place of frames; `limit` is how long one may be, and `valid` what one might hold.
fn nonsense(bytes: &mut Bytes, limit: u32, valid: &[u8]) -> Vec<Vec<u8>> {
    let framed = |length: u32, body: &[u8]| [&length.to_le_bytes()[..], body].concat();
    let whole = |body: &[u8]| framed(body.len() as u32, body);
    let unknown = rmp_serde::to_vec_named(&BTreeMap::from([("Confess", BTreeMap::from([("all", 1)]))])).expect("it is written");
    let deep = [0x91; 3_000];
    let mut said = vec![
        Vec::new(),
        vec![7],
        framed(limit + 1, &[0; 64]),
        framed(u32::MAX, &[]),
        framed(limit, &[0xc1; 100]),
        framed(valid.len() as u32 + 1, valid),
        whole(&valid[..valid.len() / 2]),
        whole(&[valid, &[0xc0][..]].concat()),
        whole(&unknown),
        whole(&[0xdd, 0xff, 0xff, 0xff, 0xff]),
        whole(&[0xdf, 0xff, 0xff, 0xff, 0xff]),
        whole(&deep),
        whole(&[]),
    ];
    said.extend((0..30).map(|_| bytes.some(2_000)));
    said.extend((0..30).map(|_| whole(&bytes.some(2_000))));
    said
}

/// Says it on a stream of its own, which ends in good order or is broken off; what is answered is not looked at.
async fn say(connection: &Connection, first: &[u8], said: &[u8], finish: bool) -> Result<(), wsw_net::Error> {
    let (mut send, mut receive) = connection.open().await?;
    send.write(first).await?;
    send.write(said).await?;
    if finish {
        // The other side may stop reading before.
        let _stopped = tokio::time::timeout(Duration::from_secs(1), send.finish()).await;
        while let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::from_secs(1), receive.read(1 << 16)).await {}
    }
    Ok(())
}

/// A frame as it is sent.
fn frame(value: &impl serde::Serialize) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(value).expect("it is written");
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

#[test]
fn frames_of_garbage_end_their_connection_alone() {
    let (forge, cluster) = (Forge::new(400), Cluster::of(1));
    forge.give(&cluster.manager);
    let given = Given::new(cluster);
    let stranger = |node: &Node, role| {
        let key = identity_text(node, "node.key");
        Stranger::new(&forge.pem, &forge.certify(&Claim::of(node, role), &key), &key, node.addr())
    };
    let (manager, worker) = (stranger(&given.cluster.manager, "swarm-manager"), stranger(&given.cluster.workers[0], "swarm-worker"));
    let mut bytes = Bytes(3);
    let valid = rmp_serde::to_vec_named(&WorkerFrame::Statuses { seq: 7, rows: Vec::new() }).expect("it is written");
    let incarnation = frame(&WorkerFrame::Incarnation { manager: None, heard: 0 });
    let kinds: [(&Stranger, &Node, Protocol, u32, &[u8]); 7] = [
        (&worker, &given.cluster.manager, Protocol::Session, 8 << 20, &[]),
        (&worker, &given.cluster.manager, Protocol::Session, 8 << 20, &incarnation),
        (&worker, &given.cluster.manager, Protocol::Blob, 4 << 10, &[]),
        (&manager, &given.cluster.workers[0], Protocol::Blob, 4 << 10, &[]),
        (&manager, &given.cluster.workers[0], Protocol::Relay, 512, &[]),
        (&worker, &given.cluster.manager, Protocol::Relay, 512, &[]),
        (&manager, &given.cluster.workers[0], Protocol::Logs, 512, &[]),
    ];
    for (stranger, at, kind, limit, first) in kinds {
        for (number, said) in nonsense(&mut bytes, limit, &valid).iter().enumerate() {
            stranger.block_on(async {
                let connection = stranger.dial(at, kind).await.unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
                // The other side may have closed it in the middle.
                let _closed = say(&connection, first, said, number % 2 == 0).await;
                connection.close(wsw_net::Close::Done, "");
            });
        }
    }
    joins(&given, &mut bytes);
    managers(&given, &manager, &mut bytes);
    given.is_well("after");
}

/// The same from nobody, who asks to join.
fn joins(given: &Given, bytes: &mut Bytes) {
    let at: SocketAddr = given.cluster.manager.remote().parse().expect("it is an address");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("there are threads");
    for (number, said) in nonsense(bytes, 16 << 10, &[0x80]).iter().enumerate() {
        runtime.block_on(async {
            let (connection, _) = dial_unknown(at, Arc::new(|_: &[u8; 32]| true)).await.expect("anybody may ask");
            let _closed = say(&connection, &[], said, number % 2 == 0).await;
        });
    }
    assert_eq!(given.cluster.states().len(), 2, "nobody was let in");
}

/// Questions of a manager that are none, on one connection that was begun well; and entries and snapshots that are none.
fn managers(given: &Given, stranger: &Stranger, bytes: &mut Bytes) {
    let at = &given.cluster.manager;
    let vote = StoredVote(1, 1, true);
    let meta = rmp_serde::from_slice(
        &rmp_serde::to_vec(&(Option::<StoredId>::None, Option::<StoredId>::None, (vec![[1_u64]], BTreeMap::<u64, String>::new()))).expect("it is written"),
    );
    let write = Write::RemoveService { id: "0000000000000000000000000".parse().expect("it is an id") };
    let mut asks = vec![
        frame(&Ask::Append(Append { vote, prev: None, commit: None, entries: vec![(1, Stored(bytes.some(400)))] })),
        frame(&Ask::Append(Append { vote, prev: Some(StoredId(9, 9, 9)), commit: Some(StoredId(9, 9, u64::MAX)), entries: Vec::new() })),
        frame(&Ask::Transfer { from: vote, to: 1, last: None }),
        frame(&Ask::Write(Box::new(Request { id: wsw_api::id::RequestId::from_bytes([0; 16]), write }))),
    ];
    if let Ok(meta) = meta {
        asks.push([frame(&Ask::Snapshot { vote, meta }), bytes.some(5_000)].concat());
    }
    for said in nonsense(bytes, 8 << 20, &frame(&Ask::ReadIndex)[4..]).iter().chain(&asks) {
        for finish in [true, false] {
            stranger.block_on(async {
                let connection = stranger.dial(at, Protocol::Raft).await.expect("a manager may");
                let (send, receive) = connection.open().await.expect("there is a stream");
                let mut greeting = FrameSender::<Hello>::new(send, 1 << 10);
                greeting.send(&Hello { incarnation: None, to: None }).await.expect("it is sent");
                let _finished = greeting.finish().await;
                FrameReceiver::<Hello>::new(receive, 1 << 10).only().await.expect("it is answered");
                let _stopped = say(&connection, &[], said, finish).await;
                // One that makes sense is answered on the same connection.
                let (send, receive) = connection.open().await.expect("there is a stream");
                let mut ask = FrameSender::<Ask>::new(send, 1 << 10);
                ask.send(&Ask::ReadIndex).await.expect("it is sent");
                let answer = FrameReceiver::<wsw_manager::raft::wire::Reply>::new(receive, 1 << 20).only().await.expect("it is answered");
                assert!(matches!(answer, wsw_manager::raft::wire::Reply::Read(_)), "{answer:?}");
                connection.close(wsw_net::Close::Done, "");
            });
        }
    }
    // As a first frame.
    for said in nonsense(bytes, 8 << 20, &[0x80]) {
        stranger.block_on(async {
            let connection = stranger.dial(at, Protocol::Raft).await.expect("a manager may");
            let _closed = say(&connection, &[], &said, true).await;
        });
    }
}
