//! Guests that compute for long: they run on threads of their own, with the processor time that nobody else wants.
//!
//! ```text
//! guest runtime --used up its credit--> queue --> one thread per core, SCHED_IDLE      a slice each, in turn
//!       ^                                    '--> the lender, ordinary priority        only when those get nothing
//!       '-----------waits for something-----------'
//! ```
//! Owns: the queue and the threads. Invariants: a guest is polled by one thread at a time; a request that arrives takes the core from a
//! computing guest at once (the kernel prefers any thread to an idle one); on a machine that has no time to spare the lender still gives
//! computing guests [`FLOOR_PERCENT`] of it. Never: blocks whoever hands a guest over or takes it back.

#![allow(unsafe_code)]

use crate::cpu::nanos;
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// What computing guests get of each core when everybody else wants all of it: a batch job goes on, a request hardly notices.
const FLOOR_PERCENT: u32 = 5;
/// The lender looks this often.
const WINDOW: Duration = Duration::from_millis(100);
/// Once the idle threads got nothing they are tried again in every so many windows; a guest that they hold then may stand still.
const RETRY: u32 = 10;
const STACK: usize = 2 << 20;

type Guest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads and what waits for them.
pub struct Background {
    state: Mutex<State>,
    wake: Condvar,
    /// Nanoseconds that guests got here since the lender looked last.
    got: AtomicU64,
    threads: usize,
    /// Ends the epoch, so that guests which run now return.
    interrupt: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Instant, Arc<Hog>)>,
    /// Since when each idle thread has polled the guest that it has.
    active: Vec<Option<Instant>>,
    /// The idle threads leave the queue to the lender.
    held: bool,
}

impl State {
    /// The longest that a guest which wants to run has waited for it, or has been at it.
    fn oldest(&self) -> Option<Instant> {
        let waiting = self.queue.front().map(|(since, _)| *since);
        waiting.into_iter().chain(self.active.iter().flatten().copied()).min()
    }
}

impl Background {
    /// Starts the threads, which set their priority before this returns (later the process may not be allowed to).
    pub fn start(interrupt: impl Fn() + Send + Sync + 'static) -> io::Result<Arc<Self>> {
        let threads = std::thread::available_parallelism()?.get();
        let state = Mutex::new(State { active: vec![None; threads], ..State::default() });
        let this = Arc::new(Self { state, wake: Condvar::new(), got: AtomicU64::new(0), threads, interrupt: Box::new(interrupt) });
        let (ready, readied) = std::sync::mpsc::channel();
        for n in 0..threads {
            let (own, ready) = (this.clone(), ready.clone());
            let thread = std::thread::Builder::new().name("background".to_owned()).stack_size(STACK);
            thread.spawn(move || {
                let _ = ready.send(become_idle());
                own.run(n);
            })?;
        }
        for _ in 0..threads {
            if let Ok(Err(error)) = readied.recv() {
                tracing::warn!("computing guests run at ordinary priority: {error}");
            }
        }
        let own = this.clone();
        std::thread::Builder::new().name("lender".to_owned()).stack_size(STACK).spawn(move || own.lend())?;
        Ok(this)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a guest over; `tokio` is the runtime that it belongs to. Dropping the answer drops the guest.
    pub fn take(self: &Arc<Self>, guest: Guest, tokio: Handle) -> Taken {
        let hog = Arc::new(Hog { guest: Mutex::new(Some(guest)), step: AtomicU8::new(RESTING), tokio, home: Arc::downgrade(self) });
        Hog::wake_by_ref(&hog);
        Taken(hog)
    }

    fn push(&self, hog: Arc<Hog>) {
        let mut state = self.lock();
        state.queue.push_back((Instant::now(), hog));
        drop(state);
        // The lender and the idle threads wait in one place; whoever has no use for it goes back to sleep.
        self.wake.notify_all();
    }

    /// An idle thread's life.
    fn run(&self, thread: usize) {
        let mut state = self.lock();
        loop {
            let next = if state.held { None } else { state.queue.pop_front() };
            let Some((_, hog)) = next else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(active) = state.active.get_mut(thread) {
                *active = Some(Instant::now());
            }
            drop(state);
            self.got.fetch_add(hog.poll(), Ordering::Relaxed);
            state = self.lock();
            if let Some(active) = state.active.get_mut(thread) {
                *active = None;
            }
        }
    }

    /// The lender's life.
    fn lend(&self) {
        let floor = nanos(WINDOW) / 100 * u64::from(FLOOR_PERCENT) * u64::try_from(self.threads).unwrap_or(1);
        let mut round = 0_u32;
        loop {
            let mut state = self.lock();
            while state.oldest().is_none() {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            self.got.store(0, Ordering::Relaxed);
            std::thread::sleep(WINDOW);
            let mut got = self.got.load(Ordering::Relaxed);
            let mut state = self.lock();
            let starved = got < floor && state.oldest().is_some_and(|since| since.elapsed() >= WINDOW);
            round = if starved { round.wrapping_add(1) } else { 0 };
            state.held = starved && !round.is_multiple_of(RETRY);
            let freed = !state.held && !state.queue.is_empty();
            drop(state);
            if freed {
                self.wake.notify_all();
            }
            if starved {
                // A guest that an idle thread holds returns as soon as that thread runs at all.
                (self.interrupt)();
                while got < floor
                    && let Some((_, hog)) = { self.lock().queue.pop_front() }
                {
                    got += hog.poll().max(1);
                }
            }
        }
    }
}

/// A guest that was handed over.
struct Hog {
    /// None once it has ended or was taken away.
    guest: Mutex<Option<Guest>>,
    step: AtomicU8,
    tokio: Handle,
    home: Weak<Background>,
}

/// Where a guest stands: waits for something, for a thread, is being polled, and the same with a wake-up since.
const RESTING: u8 = 0;
const QUEUED: u8 = 1;
const POLLED: u8 = 2;
const WOKEN: u8 = 3;

impl Hog {
    /// Polls the guest once; the processor time that it took.
    fn poll(self: &Arc<Self>) -> u64 {
        self.step.store(POLLED, Ordering::SeqCst);
        let begin = thread_time();
        let mut guest = self.guest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(future) = guest.as_mut() {
            let _tokio = self.tokio.enter();
            let waker = Waker::from(self.clone());
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *guest = None;
            }
        }
        drop(guest);
        if self.step.compare_exchange(POLLED, RESTING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.step.store(QUEUED, Ordering::SeqCst);
            self.queue();
        }
        thread_time().saturating_sub(begin)
    }

    fn queue(self: &Arc<Self>) {
        if let Some(home) = self.home.upgrade() {
            home.push(self.clone());
        }
    }
}

impl Wake for Hog {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let next = |step| match step {
            RESTING => Some(QUEUED),
            POLLED => Some(WOKEN),
            _ => None,
        };
        if self.step.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(RESTING) {
            self.queue();
        }
    }
}

/// Holds a guest in the background.
pub struct Taken(Arc<Hog>);

impl Drop for Taken {
    fn drop(&mut self) {
        match self.0.guest.try_lock() {
            Ok(mut guest) => {
                let _tokio = self.0.tokio.enter();
                *guest = None;
            }
            Err(TryLockError::Poisoned(guest)) => *guest.into_inner() = None,
            // It runs: its future sees at the end of the slice that nobody waits for it.
            Err(TryLockError::WouldBlock) => {
                if let Some(home) = self.0.home.upgrade() {
                    (home.interrupt)();
                }
                // Or in the next one, when it was just about to look.
                Hog::wake_by_ref(&self.0);
            }
        }
    }
}

/// Processor time of this thread in nanoseconds.
pub fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// From now on this thread runs when no other wants to. Everybody may lower himself.
fn become_idle() -> io::Result<()> {
    // SAFETY: all zeroes is a valid `sched_param`; idle threads have priority 0.
    let parameter: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid during the call; 0 is the calling thread.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
