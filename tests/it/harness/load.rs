//! Clients that ask a published port without pause, and keep count: what was answered, and when a request failed and how.
//!
//! Invariant: every request is in exactly one of the counts.

use super::http::get;
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
        let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    match get(port, path) {
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
