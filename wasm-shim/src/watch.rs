//! What one connection does, and when it has to end.
//!
//! Owns: since when it waits, sends a head, or takes nothing. Invariant: a request that came before its end was told is served. Never: reads
//! or writes (its bytes pass through [`Watched`]), or knows of other connections (`connections`).

use crate::connections::Connections;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// Ticks for a request's head, from its first byte (from the start, for a connection's first one). Apache's and nginx' bounds are 20 to 60 s.
pub const HEAD_LIMIT: u64 = 30;
/// Ticks without a byte taken by the client while bytes wait for it.
pub const STUCK_LIMIT: u64 = 60;

/// What one connection does.
pub struct Watch {
    connections: Arc<Connections>,
    id: u64,
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
    /// The client has closed its side.
    gone: AtomicBool,
    looked_out: AtomicBool,
    /// While it is open.
    descriptor: Mutex<Option<RawFd>>,
}

impl Watch {
    pub fn new(connections: Arc<Connections>, id: u64) -> Self {
        let now = connections.now();
        Self {
            connections,
            id,
            requests: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            framed: AtomicBool::new(false),
            idle_since: AtomicU64::new(now),
            head_since: AtomicU64::new(now),
            stuck_since: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            end: Notify::new(),
            gone: AtomicBool::new(false),
            looked_out: AtomicBool::new(false),
            descriptor: Mutex::default(),
        }
    }

    pub const fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Whether it has sent a whole head once.
    pub fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether it was told to end.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// A head has arrived; the request is in flight until the guard is dropped.
    pub fn begin(self: &Arc<Self>, framed: bool) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        self.framed.store(framed, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Ends when the connection has to: for the sake of others, because its time is up, or because its client has gone.
    pub async fn ended(&self) {
        loop {
            self.end.notified().await;
            // A request that came meanwhile is served.
            if self.gone.load(Ordering::Relaxed) || self.waits_since().is_some() || self.stuck_since.load(Ordering::Relaxed) > 0 {
                return;
            }
            self.ending.store(false, Ordering::Relaxed);
            self.connections.stays();
        }
    }

    /// Its client has gone: nobody waits for what is being done.
    pub fn hang_up(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.end.notify_one();
    }

    fn look_out(&self) {
        // Over HTTP/2 bytes are always read, and with them the end.
        if self.framed.load(Ordering::Relaxed) || self.looked_out.load(Ordering::Relaxed) || self.looked_out.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(descriptor) = *self.descriptor() {
            // SAFETY: `Watched` takes the number away, under the lock that is held here, before it closes the descriptor.
            #[allow(unsafe_code)]
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            self.connections.look_out(self.id, descriptor);
        }
    }

    fn descriptor(&self) -> std::sync::MutexGuard<'_, Option<RawFd>> {
        self.descriptor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells it to end; false when it was told before.
    pub fn end(&self) -> bool {
        let first = !self.ending.swap(true, Ordering::Relaxed);
        if first {
            self.end.notify_one();
        }
        first
    }

    pub fn waits_since(&self) -> Option<u64> {
        (self.requests.load(Ordering::Relaxed) == 0).then(|| self.idle_since.load(Ordering::Relaxed))
    }

    pub fn is_late(&self, now: u64) -> bool {
        let late = |since: &AtomicU64, limit| matches!(since.load(Ordering::Relaxed), since if since > 0 && now.saturating_sub(since) > limit);
        (late(&self.head_since, HEAD_LIMIT) && self.waits_since().is_some()) || late(&self.stuck_since, STUCK_LIMIT)
    }

    pub fn has_read(&self) {
        let between = self.requests.load(Ordering::Relaxed) == 0 && !self.framed.load(Ordering::Relaxed);
        if between && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.connections.now(), Ordering::Relaxed);
        }
    }

    pub fn has_written(&self, taken: bool) {
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

    /// The request will take a while: from now on it is noticed when the client closes its side, also while nobody reads from it. HTTP/1.1
    /// has no other way to say that an answer is not wanted any more, so a client that only stops to send is taken for one that has gone.
    pub fn look_out(&self) {
        self.0.look_out();
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

impl<S: AsFd> Watched<S> {
    pub fn new(stream: S, watch: Arc<Watch>) -> Self {
        *watch.descriptor() = Some(stream.as_fd().as_raw_fd());
        Self { stream, watch }
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        *self.watch.descriptor() = None;
    }
}

impl<S> Watched<S> {
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
