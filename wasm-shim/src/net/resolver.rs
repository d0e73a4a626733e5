//! Looking names up: the system's resolver on threads of its own, with bounds and a short memory.
//!
//! Owns: how many look-ups are under way. The system's `getaddrinfo` is used, so that `/etc/hosts`, search domains and a changed
//! `resolv.conf` mean here what they mean on the node. Invariants: a look-up that hangs holds one of [`MAX_RUNNING`] threads and nothing
//! else; a guest waits at most [`LIMIT`]. Never: decides whether a name may be looked up.

use super::{LookupError, lock};
use std::{
    collections::BTreeMap,
    net::{IpAddr, ToSocketAddrs},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, oneshot};

/// Look-ups under way in one shim: each is a thread for as long as the name server takes.
const MAX_RUNNING: usize = 8;
/// What a guest waits for an answer, in the queue and at the name server (whose own limit is 10 s by default).
const LIMIT: Duration = Duration::from_secs(10);
/// Answers are used again for this long: a request each millisecond is not a look-up each millisecond.
const KEEP: Duration = Duration::from_secs(5);
const MAX_KEPT: usize = 1_024;
/// Addresses of one name that are used.
const MAX_ADDRESSES: usize = 32;
/// `getaddrinfo` is known to need up to 64 KiB.
const STACK: usize = 256 << 10;
/// Bytes of a name (RFC 1035).
const MAX_NAME: usize = 253;

type Answer = Result<Vec<IpAddr>, LookupError>;
type Look = dyn Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync;

/// The resolver of a shim.
pub struct Resolver {
    look: Arc<Look>,
    running: Arc<Semaphore>,
    kept: Mutex<BTreeMap<String, (Instant, Vec<IpAddr>)>>,
}

/// Whether text is a name at all: what has other characters never reaches the system's resolver.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=MAX_NAME + 1).contains(&text.len()) && text.bytes().all(plain)
}

impl Resolver {
    /// The system's.
    pub fn system() -> Self {
        Self::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip().to_canonical()).collect()))
    }

    pub(super) fn new(look: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self { look: Arc::new(look), running: Arc::new(Semaphore::new(MAX_RUNNING)), kept: Mutex::default() }
    }

    pub async fn resolve(&self, name: &str) -> Answer {
        if let Some((at, found)) = lock(&self.kept).get(name)
            && at.elapsed() < KEEP
        {
            return Ok(found.clone());
        }
        let found = tokio::time::timeout(LIMIT, self.ask(name)).await.map_err(|_| LookupError::Late)??;
        let mut kept = lock(&self.kept);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(name.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }

    async fn ask(&self, name: &str) -> Answer {
        let permit = self.running.clone().acquire_owned().await.map_err(|_| LookupError::Busy)?;
        let (send, answer) = oneshot::channel();
        let (look, name) = (self.look.clone(), name.to_owned());
        let thread = move || {
            let _ = send.send(look(&name));
            drop(permit);
        };
        std::thread::Builder::new().name("lookup".to_owned()).stack_size(STACK).spawn(thread).map_err(|error| LookupError::Failed(error.to_string()))?;
        let answer = answer.await.map_err(|_| LookupError::Failed("the look-up was interrupted".to_owned()))?;
        let mut found = answer.map_err(|error| LookupError::Failed(error.to_string()))?;
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|address| seen.insert(*address));
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn names_are_told_from_other_text() {
        for (text, want) in [("a.example", true), ("_srv.a-b.example.", true), ("", false), ("a b", false), ("a\0b", false), ("ä.example", false)] {
            assert_eq!(is_name(text), want, "{text:?}");
        }
        assert!(!is_name(&"a".repeat(255)));
    }

    #[tokio::test]
    async fn localhost_is_found_and_answers_are_kept() {
        let found = Resolver::system().resolve("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let resolver = Resolver::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(vec![IpAddr::from([192, 0, 2, 1]); 3])
        });
        for _ in 0..3 {
            assert_eq!(resolver.resolve("a.example").await.unwrap(), [IpAddr::from([192, 0, 2, 1])]);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let broken = Resolver::new(|_| Err(std::io::Error::other("no such name")));
        assert_eq!(broken.resolve("b.example").await, Err(LookupError::Failed("no such name".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_hangs_costs_the_guest_its_limit() {
        let resolver = Resolver::new(|_| {
            loop {
                std::thread::park();
            }
        });
        assert_eq!(resolver.resolve("slow.example").await, Err(LookupError::Late));
    }
}
