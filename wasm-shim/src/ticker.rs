//! Interrupting guests: the epoch ticker.
//!
//! Owns: when an epoch ends. Invariants: while a guest is being polled the epochs advance; while none is, the thread is parked and
//! costs nothing.

use crate::background::Background;
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::Duration,
};
use wasmtime::Engine;

/// Length of an epoch: how long a spinning guest holds a core before others get it. Shorter costs wake-ups, longer costs latency.
pub const EPOCH: Duration = Duration::from_millis(2);

/// The thread that ends epochs.
pub struct Ticker {
    engines: Mutex<Vec<Engine>>,
    /// Guests that are being polled right now.
    running: AtomicUsize,
    parked: AtomicBool,
    thread: OnceLock<Thread>,
    background: OnceLock<Arc<Background>>,
}

impl Ticker {
    /// Without its threads yet: engines are made before the process is confined, threads after.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            engines: Mutex::default(),
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            thread: OnceLock::new(),
            background: OnceLock::new(),
        })
    }

    /// Starts the thread and those of the background; they live as long as the process.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let own = self.clone();
        let handle = std::thread::Builder::new().name("ticker".to_owned()).stack_size(64 << 10).spawn(move || own.run())?;
        let _ = self.thread.set(handle.thread().clone());
        let own = Arc::downgrade(self);
        let background = Background::start(move || {
            if let Some(ticker) = own.upgrade() {
                ticker.end_epoch();
            }
        })?;
        let _ = self.background.set(background);
        Ok(())
    }

    /// One that runs already.
    #[cfg(test)]
    pub fn started() -> Arc<Self> {
        let ticker = Self::new();
        ticker.start().unwrap();
        ticker
    }

    /// From now on this engine's epochs advance too.
    pub fn add(&self, engine: &Engine) {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).push(engine.clone());
    }

    fn run(&self) {
        loop {
            self.parked.store(true, Ordering::SeqCst);
            // Whoever raises `running` after this load sees `parked` and unparks.
            while self.running.load(Ordering::SeqCst) == 0 {
                std::thread::park();
            }
            self.parked.store(false, Ordering::SeqCst);
            std::thread::sleep(EPOCH);
            self.end_epoch();
        }
    }

    /// Every guest that runs now returns at its next look.
    fn end_epoch(&self) {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Engine::increment_epoch);
    }

    /// Where guests go that compute for long.
    pub fn background(&self) -> Option<&Arc<Background>> {
        self.background.get()
    }

    /// A guest is polled until the answer is dropped.
    pub fn enter_guest(&self) -> Polled<'_> {
        self.enter();
        Polled(self)
    }

    fn enter(&self) {
        if self.running.fetch_add(1, Ordering::SeqCst) == 0
            && self.parked.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Leaves also when the guest's future panics.
pub struct Polled<'a>(&'a Ticker);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}
