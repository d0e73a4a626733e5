//! Twenty thousand connections at once to a published port: each is served or refused, none hangs, and all that they cost is given back.
//!
//! The clients are processes of their own (this binary again), each with as many descriptors as the machine allows.

use crate::harness::{self, BOUND, Client, Node, free_tcp_port, guest, lab, shims_below, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What the clients are told: port and number of connections.
const WORDS: &str = "WSW_TEST_CROWD";
const PROCESSES: usize = 2;
const CONNECTIONS: usize = 10_000;
/// Descriptors of a client process for other things.
const MARGIN: usize = 256;
/// Loopback addresses that a process's connections come from.
const SOURCES: usize = 16;
/// Connections that are being opened at a time by one process.
const OPENING: usize = 512;
/// Requests of a busy connection, one after the other.
const REQUESTS: usize = 5;
/// What daemon and shim may have at most while the crowd is there: a debug build's connection costs the shim some 30 KiB.
const MEMORY_KIB: u64 = 1 << 20;

/// What became of the connections of a process; each is in one of the first five.
#[derive(Default)]
struct Counts {
    /// Got an answer to each request.
    served: AtomicUsize,
    /// Ended between two answers: its place was needed.
    ended: AtomicUsize,
    /// Ended before any answer.
    refused: AtomicUsize,
    /// Sends nothing.
    silent: AtomicUsize,
    /// Half an answer, or a wrong one.
    broken: AtomicUsize,
    /// Neither an answer nor an end within the bound.
    hung: AtomicUsize,
    /// Of the served and the silent: gone when all were let go.
    given_up: AtomicUsize,
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// The client process; nothing in an ordinary run.
#[test]
fn clients() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let numbers: Vec<usize> = words.split(' ').map(|word| word.parse().expect("a number")).collect();
    let [port, connections, first] = numbers[..] else { panic!("{WORDS}={words}") };
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("up to the hard limit anyone may");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (counts, opening) = (Arc::new(Counts::default()), Arc::new(tokio::sync::Semaphore::new(OPENING)));
        let (settled, mut all_settled) = tokio::sync::mpsc::channel::<()>(1);
        let (go, _) = tokio::sync::broadcast::channel::<()>(1);
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..connections {
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 1, u8::try_from(1 + first + number % SOURCES).expect("few sources")), 0));
            let (counts, opening, settled, mut gone) = (counts.clone(), opening.clone(), settled.clone(), go.subscribe());
            clients.spawn(async move {
                let stream = client(number, source, port, &opening, &counts).await;
                drop(settled);
                let Some(mut stream) = stream else { return };
                let mut nothing = [0; 1];
                tokio::select! {
                    biased;
                    // Nothing was asked: only its end can come.
                    _ = stream.read(&mut nothing) => add(&counts.given_up),
                    _ = gone.recv() => {}
                }
            });
        }
        drop(settled);
        let _ = all_settled.recv().await;
        let Counts { served, ended, refused, silent, broken, hung, .. } = &*counts;
        let numbers = [served, ended, refused, silent, broken, hung].map(|count| count.load(Ordering::Relaxed).to_string());
        println!("\ncrowd {}", numbers.join(" "));
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.expect("no panic").expect("a word");
        drop(go);
        while clients.join_next().await.is_some() {}
        println!("\ncrowd {}", counts.given_up.load(Ordering::Relaxed));
    });
}

/// One connection until it has what it came for; given back while it is open.
async fn client(number: usize, source: SocketAddr, port: usize, opening: &tokio::sync::Semaphore, counts: &Counts) -> Option<TcpStream> {
    let permit = opening.acquire().await.expect("open");
    let opened = tokio::time::timeout(BOUND, async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(source)?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("a port")))).await
    });
    let mut stream = match opened.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            add(&counts.refused);
            return None;
        }
        Ok(Err(error)) => panic!("{error}"),
        Err(_) => {
            add(&counts.hung);
            return None;
        }
    };
    drop(permit);
    // A quarter says nothing, a quarter asks again and again, the rest once.
    let requests = match number % 4 {
        0 => 0,
        1 => REQUESTS,
        _ => 1,
    };
    for done in 0..requests {
        match tokio::time::timeout(BOUND, exchange(&mut stream)).await {
            Ok(Answer::Right) => {}
            Ok(Answer::End) => {
                add(if done == 0 { &counts.refused } else { &counts.ended });
                return None;
            }
            Ok(Answer::Wrong(text)) => {
                eprintln!("{text:?}");
                add(&counts.broken);
                return None;
            }
            Err(_) => {
                add(&counts.hung);
                return None;
            }
        }
    }
    add(if requests == 0 { &counts.silent } else { &counts.served });
    Some(stream)
}

enum Answer {
    Right,
    End,
    Wrong(String),
}

async fn exchange(stream: &mut TcpStream) -> Answer {
    let mut text = Vec::new();
    if stream.write_all(b"GET /request HTTP/1.1\r\nHost: crowd\r\n\r\n").await.is_ok() {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            text.extend_from_slice(&piece[..read]);
            let shown = String::from_utf8_lossy(&text);
            if shown.starts_with("HTTP/1.1 200 ") && shown.ends_with("/request crowd\n\r\n0\r\n\r\n") {
                return Answer::Right;
            }
            // No room among those that wait: the connection stays, the client may come again.
            if shown.starts_with("HTTP/1.1 503 ") && shown.contains("\r\nretry-after: ") && shown.ends_with("\n") && !shown.ends_with("\r\n") {
                return Answer::Right;
            }
        }
    }
    if text.is_empty() { Answer::End } else { Answer::Wrong(String::from_utf8_lossy(&text).into_owned()) }
}

/// A client process from outside.
struct Crowd {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Box<dyn Iterator<Item = Vec<usize>>>,
}

impl Crowd {
    fn start(port: u16, connections: usize, first: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "crowd::clients", "--nocapture", "--test-threads=1"]).env(WORDS, format!("{port} {connections} {first}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let numbers = |line: String| Some(line.strip_prefix("crowd ")?.split(' ').filter_map(|word| word.parse().ok()).collect());
        Self { stdin: child.stdin.take(), child, lines: Box::new(lines.filter_map(numbers)) }
    }

    fn counts(&mut self) -> Vec<usize> {
        self.lines.next().expect("the clients end in order")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn memory_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok()).expect("a size")
}

#[test]
fn twenty_thousand_connections_at_once() {
    let node = Node::swarm();
    let port = lab(&node, &[]);
    assert_eq!(Client::connect(port).get("/request").0, 200);
    let shims = shims_below(node.folder());
    let [shim] = shims[..] else { panic!("{shims:?}") };
    let watched = [node.pid(), shim];
    let before = watched.map(descriptors);

    let hard = getrlimit(Resource::Nofile).maximum.map_or(usize::MAX, |limit| limit as usize);
    let each = CONNECTIONS.min(hard.saturating_sub(MARGIN));
    // The shim's own bound: half of its descriptors, 10,000 at most.
    let bound = 10_000.min(hard.saturating_sub(512) / 2);
    let done = Arc::new(AtomicBool::new(false));
    let (pinging, socket) = (Arc::clone(&done), node.socket());
    let pinger = std::thread::spawn(move || {
        let mut pings = 0;
        while !pinging.load(Ordering::Relaxed) {
            let answer = harness::over_unix(&socket, "GET", "/_ping", &[]).expect("the daemon answers");
            assert_eq!(answer.status, 200);
            pings += 1;
        }
        pings
    });
    let mut crowds: Vec<_> = (0..PROCESSES).map(|number| Crowd::start(port, each, number * SOURCES)).collect();
    let mut sums = [0; 6];
    for crowd in &mut crowds {
        crowd.counts().iter().zip(&mut sums).for_each(|(count, sum)| *sum += count);
    }
    let [served, ended, refused, silent, broken, hung] = sums;
    let memory = watched.map(memory_kib);
    eprintln!("{served} served, {ended} ended between answers, {refused} refused, {silent} silent, {broken} broken, {hung} hung; {memory:?} KiB");
    assert_eq!((sums.iter().sum::<usize>(), broken, hung), (PROCESSES * each, 0, 0));
    assert!(served > bound / 2, "most of the places are for those who ask");
    assert!(memory.iter().all(|kib| *kib < MEMORY_KIB), "{memory:?} KiB");
    // While they all are there: a new service gets its requests answered, and one more client of the old one, for whom another gives up its place.
    let other = free_tcp_port();
    let hello = guest("hello_http").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "--name", "hello", "-p", &format!("{other}:80"), &hello]).ok();
    for _ in 0..20 {
        assert_eq!(harness::get(other, "/").map(|answer| answer.status), Ok(200));
    }
    until("one more client to be served", || match harness::get(port, "/request") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(descriptors(shim) < bound + 512, "{} descriptors", descriptors(shim));

    let mut given_up = 0;
    for crowd in &mut crowds {
        crowd.stdin.take().expect("it is piped").write_all(b"go\n").expect("it is taken");
        given_up += crowd.counts()[0];
    }
    eprintln!("{given_up} of {} gave up their places", served + silent);
    assert!(served + silent - given_up <= bound, "no more than there are places");
    until("all descriptors to be given back", || {
        let now = watched.map(descriptors);
        // A log or two of the new service's.
        if now.iter().zip(before).all(|(now, before)| *now <= before + 16) { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    });
    done.store(true, Ordering::Relaxed);
    let pings: usize = pinger.join().expect("each ping was answered");
    assert!(pings > 0);
    harness::stays("the port to be served", Duration::from_millis(500), || match harness::get(port, "/request") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
