//! The connections of a shim: the bound on them, and the end of those that hold a place without using it.
//!
//! Owns: who is open, since when each waits. Invariants: a connection with a request in flight is ended for one reason only, that its
//! client takes no bytes; there is no idle time-out, but when all places are taken the connections that wait for longest give theirs up,
//! those that never sent a request first. So slow clients cannot keep others out. Never: reads or writes a connection itself.
//!
//! Time is counted in ticks of a second, so that the path of a request costs a load and a store.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

const TICK: Duration = Duration::from_secs(1);
/// Ticks for a request's head, from its first byte (from the start, for a connection's first one). Apache's and nginx' bounds are 20 to 60 s.
const HEAD_LIMIT: u64 = 30;
/// Ticks without a byte taken by the client while bytes wait for it.
const STUCK_LIMIT: u64 = 60;
/// A connection that waits for less is not ended for the sake of others: the newcomers of one burst must not push each other out.
const MIN_WAIT: u64 = 2;
/// This part of all places is cleared in one go, so that a flood does not look through them for each newcomer.
const CLEARED_PART: usize = 64;

/// All connections.
pub struct Connections {
    limit: usize,
    open: Mutex<Open>,
    tick: AtomicU64,
    /// Told when the first connection comes: the sweeper sleeps while there is none.
    first: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    watches: HashMap<u64, Arc<Watch>>,
    /// Told to end, not gone yet.
    ending: usize,
    /// The tick of the last look for those to end.
    looked: u64,
}

impl Connections {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Arc<Self> {
        // Ticks begin late enough for zero to mean "never".
        Arc::new(Self { limit, open: Mutex::default(), tick: AtomicU64::new(MIN_WAIT + 1), first: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// A place for a connection; none when all are taken. Then those that wait for longest are told to end, so a later try may have one.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.lock();
        if open.watches.len() >= self.limit {
            self.make_room(&mut open);
            return None;
        }
        let watch = Arc::new(Watch::new(self.clone()));
        let id = open.next;
        open.next += 1;
        open.watches.insert(id, watch.clone());
        if open.watches.len() == 1 {
            self.first.notify_one();
        }
        Some(Place { id, watch })
    }

    fn make_room(&self, open: &mut Open) {
        let now = self.now();
        if open.ending > 0 || open.looked == now {
            return;
        }
        open.looked = now;
        let waits = |watch: &&Arc<Watch>| watch.waits_since().is_some_and(|since| now.saturating_sub(since) >= MIN_WAIT);
        let mut waiting: Vec<_> = open.watches.values().filter(waits).collect();
        waiting.sort_unstable_by_key(|watch| (watch.asked.load(Ordering::Relaxed), watch.waits_since()));
        let chosen = waiting.into_iter().take((self.limit / CLEARED_PART).max(1));
        open.ending = chosen.filter(|watch| watch.end()).count();
    }

    /// Counts the ticks and ends connections whose time is up, for ever.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            if self.lock().watches.is_empty() {
                self.first.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.pass(1);
        }
    }

    fn pass(&self, ticks: u64) {
        let now = self.tick.fetch_add(ticks, Ordering::Relaxed) + ticks;
        let mut open = self.lock();
        let ended = open.watches.values().filter(|watch| watch.is_late(now)).filter(|watch| watch.end()).count();
        open.ending += ended;
    }
}

/// A connection's place, given back when it is dropped.
pub struct Place {
    id: u64,
    pub watch: Arc<Watch>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.watch.connections.lock();
        open.watches.remove(&self.id);
        if self.watch.ending.load(Ordering::Relaxed) {
            open.ending = open.ending.saturating_sub(1);
        }
    }
}

/// What one connection does.
pub struct Watch {
    connections: Arc<Connections>,
    requests: AtomicUsize,
    /// It has sent a whole head once.
    asked: AtomicBool,
    /// HTTP/2: bytes come without a request, too.
    framed: AtomicBool,
    /// Ticks; zero for "not".
    idle_since: AtomicU64,
    head_since: AtomicU64,
    stuck_since: AtomicU64,
    ending: AtomicBool,
    end: Notify,
}

impl Watch {
    fn new(connections: Arc<Connections>) -> Self {
        let now = connections.now();
        Self {
            connections,
            requests: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            framed: AtomicBool::new(false),
            idle_since: AtomicU64::new(now),
            head_since: AtomicU64::new(now),
            stuck_since: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// A head has arrived; the request is in flight until the guard is dropped.
    pub fn begin(self: &Arc<Self>, framed: bool) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        self.framed.store(framed, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Ends when the connection has to, for the sake of others or because its time is up.
    pub async fn ended(&self) {
        loop {
            self.end.notified().await;
            // A request that came meanwhile is served.
            if self.waits_since().is_some() || self.stuck_since.load(Ordering::Relaxed) > 0 {
                return;
            }
            self.ending.store(false, Ordering::Relaxed);
            let mut open = self.connections.lock();
            open.ending = open.ending.saturating_sub(1);
        }
    }

    /// Tells it to end; false when it was told before.
    fn end(&self) -> bool {
        let first = !self.ending.swap(true, Ordering::Relaxed);
        if first {
            self.end.notify_one();
        }
        first
    }

    fn waits_since(&self) -> Option<u64> {
        (self.requests.load(Ordering::Relaxed) == 0).then(|| self.idle_since.load(Ordering::Relaxed))
    }

    fn is_late(&self, now: u64) -> bool {
        let late = |since: &AtomicU64, limit| matches!(since.load(Ordering::Relaxed), since if since > 0 && now.saturating_sub(since) > limit);
        (late(&self.head_since, HEAD_LIMIT) && self.waits_since().is_some()) || late(&self.stuck_since, STUCK_LIMIT)
    }

    fn has_read(&self) {
        let between = self.requests.load(Ordering::Relaxed) == 0 && !self.framed.load(Ordering::Relaxed);
        if between && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.connections.now(), Ordering::Relaxed);
        }
    }

    fn has_written(&self, taken: bool) {
        match (taken, self.stuck_since.load(Ordering::Relaxed)) {
            (true, 0) => {}
            (true, _) => self.stuck_since.store(0, Ordering::Relaxed),
            (false, 0) => self.stuck_since.store(self.connections.now(), Ordering::Relaxed),
            (false, _) => {}
        }
    }
}

/// A request in flight.
pub struct Busy(Arc<Watch>);

impl Busy {
    /// True over HTTP/2.
    pub fn is_framed(&self) -> bool {
        self.0.framed.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.connections.now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose bytes are noticed.
pub struct Watched<S> {
    stream: S,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    pub const fn new(stream: S, watch: Arc<Watch>) -> Self {
        Self { stream, watch }
    }

    fn written(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.watch.has_written(poll.is_ready());
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.watch.has_read();
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(poll)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.written(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(place: &Place) -> bool {
        place.watch.ending.load(Ordering::Relaxed)
    }

    #[test]
    fn when_full_the_ones_that_wait_for_longest_give_up_their_place() {
        let connections = Connections::new(3);
        let busy = connections.enter().unwrap();
        let request = busy.watch.begin(false);
        let asked = connections.enter().unwrap();
        drop(asked.watch.begin(false));
        let silent = connections.enter().unwrap();
        assert!(connections.enter().is_none());
        assert!(!told(&silent), "it has only come");
        connections.pass(MIN_WAIT);
        assert!(connections.enter().is_none());
        assert_eq!([told(&busy), told(&asked), told(&silent)], [false, false, true], "who never asked goes first");
        assert!(connections.enter().is_none(), "and nobody else until it has gone");
        drop(silent);
        let next = connections.enter().unwrap();
        connections.pass(1);
        assert!(connections.enter().is_none());
        assert_eq!([told(&busy), told(&asked), told(&next)], [false, true, false], "then who asked, never who is served");
        drop(request);
    }

    #[test]
    fn slow_heads_end_and_idle_connections_do_not() {
        let connections = Connections::new(9);
        let places: Vec<_> = (0..4).map(|_| connections.enter().unwrap()).collect();
        let [silent, idle, slow, framed] = places.try_into().map_err(|_| "four").unwrap();
        drop(idle.watch.begin(false));
        drop(slow.watch.begin(false));
        drop(framed.watch.begin(true));
        connections.pass(5 * HEAD_LIMIT);
        assert_eq!([told(&silent), told(&idle), told(&slow), told(&framed)], [true, false, false, false]);
        slow.watch.has_read();
        framed.watch.has_read();
        connections.pass(HEAD_LIMIT);
        assert!(!told(&slow));
        connections.pass(1);
        assert_eq!([told(&idle), told(&slow), told(&framed)], [false, true, false]);
    }

    #[test]
    fn a_client_that_takes_nothing_is_ended_although_it_is_served() {
        let connections = Connections::new(9);
        let place = connections.enter().unwrap();
        let _request = place.watch.begin(false);
        place.watch.has_written(false);
        connections.pass(STUCK_LIMIT);
        place.watch.has_written(true);
        connections.pass(STUCK_LIMIT);
        assert!(!told(&place), "it took some");
        place.watch.has_written(false);
        connections.pass(STUCK_LIMIT + 1);
        assert!(told(&place));
    }
}
