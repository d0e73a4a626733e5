//! Clients that ask a published port without pause, and keep count: what was answered, and when a request failed and how.
//!
//! Invariant: every request is in exactly one of the counts.

use super::http::{Response, get_from};
use super::wait::BOUND;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After a failure, as a client with manners does it.
const PAUSE: Duration = Duration::from_millis(5);

/// A request that got no whole answer.
#[derive(Debug, Clone)]
pub struct Failure {
    pub begun: Instant,
    pub ended: Instant,
    pub error: String,
}

/// Some clients at work.
pub struct Load {
    done: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Failure>>>,
}

impl Load {
    /// `clients` threads ask for `path`, each request on a connection of its own. `right` tells whether an answer's body is right; a wrong
    /// one, or one with another status than 200, panics in its thread and so in [`Load::end`].
    pub fn start(port: u16, path: &'static str, clients: usize, right: fn(&str) -> bool) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], port)), path, clients, right)
    }

    /// The same at a port of some node.
    pub fn at(address: SocketAddr, path: &'static str, clients: usize, right: fn(&str) -> bool) -> Self {
        Self::with(clients, right, move || move || get_from(address, path))
    }

    /// Clients that keep their connections, and renew one that was closed before the answer began, as HTTP clients do.
    pub fn keeping(address: SocketAddr, path: &'static str, clients: usize, right: fn(&str) -> bool) -> Self {
        Self::with(clients, right, move || {
            let mut kept = Kept { address, stream: None };
            move || kept.get(path)
        })
    }

    fn with<Get>(clients: usize, right: fn(&str) -> bool, make: impl Fn() -> Get) -> Self
    where
        Get: FnMut() -> Result<Response, String> + Send + 'static,
    {
        let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (done, answered, mut get) = (Arc::clone(&done), Arc::clone(&answered), make());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    match get() {
                        Ok(answer) => {
                            assert!(answer.status == 200 && right(&answer.body), "a wrong answer: {answer:?}");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            failures.push(Failure { begun, ended: Instant::now(), error });
                            std::thread::sleep(PAUSE);
                        }
                    }
                }
                failures
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { done, answered, clients }
    }

    /// Right answers so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops the clients; how many right answers there were, and all failures.
    pub fn end(self) -> (u64, Vec<Failure>) {
        self.done.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter().flat_map(|client| client.join().expect("a client saw a wrong answer")).collect();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

/// A connection that is used again and again.
struct Kept {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Kept {
    fn get(&mut self, path: &str) -> Result<Response, String> {
        if let Some(mut stream) = self.stream.take() {
            match Self::ask(&mut stream, path) {
                Ok(Some(answer)) => return self.keep(stream, answer),
                // Closed while nothing was asked.
                Ok(None) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        let connect = || -> std::io::Result<_> {
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(BOUND))?;
            let mut stream = BufReader::new(stream);
            let answer = Self::ask(&mut stream, path)?.ok_or_else(|| std::io::Error::other("closed without an answer"))?;
            Ok((stream, answer))
        };
        let (stream, answer) = connect().map_err(|error| format!("GET {path} of {}: {error}", self.address))?;
        self.keep(stream, answer)
    }

    fn keep(&mut self, stream: BufReader<TcpStream>, answer: Response) -> Result<Response, String> {
        self.stream = answer.header("connection").is_none_or(|value| value != "close").then_some(stream);
        Ok(answer)
    }

    /// None when the connection ends before the answer begins.
    fn ask(stream: &mut BufReader<TcpStream>, path: &str) -> std::io::Result<Option<Response>> {
        // Whether it went through shows when the answer is read.
        let _ = stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let mut head = String::new();
        if !matches!(stream.read_line(&mut head), Ok(count) if count > 0) {
            return Ok(None);
        }
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Err(std::io::Error::other(format!("the head was cut: {head:?}")));
            }
        }
        let mut answer = Response { status: head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0), head, body: String::new() };
        let length = answer.header("content-length").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| std::io::Error::other(format!("no length: {answer:?}")))?];
        stream.read_exact(&mut body)?;
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(Some(answer))
    }
}
