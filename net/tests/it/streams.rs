//! Streams and frames: ends that are ends, bounds that hold, a channel at each side.

use crate::fixture::{Authority, MANAGER, WORKER, addr, echo, manager, node_id, soon};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use wsw_api::SessionId;
use wsw_api::session::{Goodbye, ManagerFrame, WorkerFrame};
use wsw_net::{Connection, Ended, Endpoint, Error, FrameReceiver, FrameSender, Handler, Handlers, Protocol, Whom, carry};

const LIMIT: usize = 64 << 10;

/// What the manager's side of a session saw.
#[derive(Default)]
struct Seen {
    frames: Mutex<Vec<WorkerFrame>>,
    ended: Mutex<Vec<String>>,
}

/// A session that welcomes, then says why it ends when it hears a goodbye.
struct Sessions(Arc<Seen>);

#[async_trait]
impl Handler for Sessions {
    async fn serve(&self, connection: Connection) {
        let Ok((send, receive)) = connection.accept().await else { return };
        let (to_worker, out) = mpsc::channel(4);
        let (into, mut frames) = mpsc::channel::<WorkerFrame>(4);
        let seen = self.0.clone();
        let leader = tokio::spawn(async move {
            let _ = to_worker.send(ManagerFrame::Welcome { session: SessionId::default(), heartbeat_ns: 1 }).await;
            while let Some(frame) = frames.recv().await {
                let over = frame == WorkerFrame::Goodbye(Goodbye::Leaving);
                seen.frames.lock().unwrap().push(frame);
                if over {
                    let _ = to_worker.send(ManagerFrame::Refused { reason: "farewell".into() }).await;
                    return;
                }
            }
        });
        let ended = carry(FrameSender::new(send, LIMIT), FrameReceiver::new(receive, LIMIT), out, into).await;
        leader.await.unwrap();
        let text = match ended {
            Ended::Here => "here".to_owned(),
            Ended::There => "there".to_owned(),
            Ended::Fault(error) => error.to_string(),
        };
        self.0.ended.lock().unwrap().push(text);
        connection.linger().await;
    }
}

struct Pair {
    _manager: Endpoint,
    _worker: Endpoint,
    seen: Arc<Seen>,
    connection: Connection,
}

async fn session() -> Pair {
    let authority = Authority::new(1);
    let seen = Arc::new(Seen::default());
    let handlers: Handlers = [(Protocol::Session, Arc::new(Sessions(seen.clone())) as Arc<dyn Handler>)].into();
    let gate = Arc::new(crate::fixture::List::default());
    let manager = Endpoint::listen(addr(), authority.issue(1, &MANAGER), handlers, gate).unwrap();
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    let connection = soon("a dial", worker.dial(manager.addr().unwrap(), Whom::Manager, Protocol::Session)).await.unwrap();
    Pair { _manager: manager, _worker: worker, seen, connection }
}

impl Pair {
    async fn ended(&self) -> String {
        let last = async {
            loop {
                if let Some(text) = self.seen.ended.lock().unwrap().first() {
                    return text.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        soon("the session to end", last).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_carried_to_its_last_word() {
    let pair = session().await;
    let (send, receive) = pair.connection.open().await.unwrap();
    let (tx, out) = mpsc::channel(4);
    let (into, mut rx) = mpsc::channel::<ManagerFrame>(4);
    let carried = tokio::spawn(carry(FrameSender::new(send, LIMIT), FrameReceiver::new(receive, LIMIT), out, into));
    let frames = [WorkerFrame::Heartbeat, WorkerFrame::Statuses { seq: 1, rows: Vec::new() }, WorkerFrame::Goodbye(Goodbye::Leaving)];
    for frame in &frames {
        tx.send(frame.clone()).await.unwrap();
    }
    assert!(matches!(soon("a welcome", rx.recv()).await, Some(ManagerFrame::Welcome { .. })));
    assert_eq!(soon("the reason", rx.recv()).await, Some(ManagerFrame::Refused { reason: "farewell".into() }));
    assert_eq!(soon("the end", rx.recv()).await, None);
    assert!(matches!(soon("the carrier", carried).await.unwrap(), Ended::There));
    assert_eq!(*pair.seen.frames.lock().unwrap(), frames);
    assert_eq!(pair.ended().await, "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_wrong_end_their_session_and_say_why() {
    let body = rmp_serde::to_vec_named(&WorkerFrame::Heartbeat).unwrap();
    let framed = |length: u32, body: &[u8]| [&length.to_le_bytes()[..], body].concat();
    let cases: [(Vec<u8>, &str); 6] = [
        (framed(u32::MAX, &body), "a frame of 4294967295 bytes; at most 65536 are taken"),
        (framed(LIMIT as u32 + 1, &body), "at most 65536 are taken"),
        (framed(body.len() as u32 + 1, &body), "the stream ended after"),
        (vec![1, 2], "the stream ended within a frame's length"),
        (framed(9, b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7"), "a frame cannot be read"),
        (framed(body.len() as u32 + 2, &[&body[..], b"\xc0\xc0"].concat()), "2 bytes follow a frame's value"),
    ];
    for (bytes, expected) in cases {
        let pair = session().await;
        let (mut send, _receive) = pair.connection.open().await.unwrap();
        send.write(&bytes).await.unwrap();
        let finished = tokio::spawn(send.finish());
        let ended = pair.ended().await;
        assert!(ended.contains(expected), "{expected}: {ended}");
        finished.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_is_no_end() {
    let pair = session().await;
    let (mut send, _receive) = pair.connection.open().await.unwrap();
    send.write(&[0]).await.unwrap();
    drop(send);
    assert_eq!(pair.ended().await, "the connection is lost: the other side broke the stream off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_stream() {
    let pair = session().await;
    let (mut send, _receive) = pair.connection.open().await.unwrap();
    send.write(&[0]).await.unwrap();
    let second = soon("the second stream", pair.connection.open()).await;
    assert_eq!(second.unwrap_err(), Error::Busy("it grants no more streams".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn megabytes_arrive_whole_on_many_streams_of_one_connection() {
    let authority = Authority::new(1);
    let (_manager, at, _) = manager(&authority);
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    let connection = soon("a dial", worker.dial(at, Whom::Node(node_id(1)), Protocol::Blob)).await.unwrap();
    let mut running = Vec::new();
    for n in 0..16_u8 {
        let connection = connection.clone();
        running.push(tokio::spawn(async move {
            let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251) as u8 ^ n).collect();
            // One writes while the other reads: the echo's windows are smaller than what is sent.
            let (mut send, mut receive) = connection.open().await.unwrap();
            let sent = bytes.clone();
            let writer = tokio::spawn(async move {
                send.write(&sent).await.unwrap();
                send.finish().await.unwrap();
            });
            let mut answer = Vec::new();
            while let Some(piece) = receive.read(64 << 10).await.unwrap() {
                answer.extend_from_slice(&piece);
            }
            writer.await.unwrap();
            assert!(answer == bytes, "stream {n}");
        }));
    }
    for one in running {
        soon("a stream", one).await.unwrap();
    }
    assert_eq!(echo(&connection, b"").await.unwrap(), b"");
}

#[test]
fn who_sends_to_an_earlier_life_of_a_node_is_told_at_once() {
    let authority = Authority::new(1);
    let own = authority.issue(1, &MANAGER);
    let listen = |at| Endpoint::listen(at, own.clone(), crate::fixture::handlers(&[Protocol::Blob]), Arc::new(crate::fixture::List::default()));
    // A runtime for each life: when the first goes, nothing says goodbye.
    let [first_life, rest] = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
    let first = first_life.block_on(async { listen(addr()).unwrap() });
    let at = first.addr().unwrap();
    rest.block_on(async {
        let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
        let connection = soon("a dial", worker.dial(at, Whom::Manager, Protocol::Blob)).await.unwrap();
        assert_eq!(soon("an echo", echo(&connection, b"x")).await.unwrap(), b"x");
        first_life.shutdown_background();
        drop(first);
        let second = loop {
            match listen(at) {
                Ok(second) => break second,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert_eq!(soon("the end", connection.closed()).await, Error::Lost("reset by peer".into()));
        second.close().await;
    });
}

#[tokio::test]
async fn a_port_is_free_once_its_endpoint_is_closed() {
    let authority = Authority::new(1);
    let (endpoint, place, _list) = manager(&authority);
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    let connection = soon("a connection", worker.dial(place, Whom::Manager, Protocol::Blob)).await.unwrap();
    assert_eq!(soon("an answer", echo(&connection, b"here")).await.unwrap(), b"here");
    // Somebody still has it.
    let other = endpoint.clone();
    soon("the end", endpoint.close()).await;
    let again = std::net::UdpSocket::bind(place);
    assert!(again.is_ok(), "{again:?}");
    assert!(soon("nothing", echo(&connection, b"gone")).await.is_err());
    soon("its end again", other.close()).await;
}
