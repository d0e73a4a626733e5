//! Interrupting guests: the epoch ticker and the future that every guest is polled in.
//!
//! Owns: when an epoch ends. Invariants: while a guest is being polled the epochs advance; while none is, the thread is parked and
//! costs nothing. A guest whose slice is over yields after the I/O driver has been polled, so spinning guests delay others by one slice.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread::Thread,
    time::{Duration, Instant},
};
use wasmtime::{Engine, Store, UpdateDeadline};

/// Length of an epoch: how long a spinning guest holds a core before others get it. Shorter costs wake-ups, longer costs latency.
const EPOCH: Duration = Duration::from_millis(5);

/// The thread that ends epochs.
pub struct Ticker {
    engines: Mutex<Vec<Engine>>,
    /// Guests that are being polled right now.
    running: AtomicUsize,
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticker {
    /// Starts the thread; it lives as long as the process.
    pub fn start() -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self { engines: Mutex::default(), running: AtomicUsize::new(0), parked: AtomicBool::new(false), thread: OnceLock::new() });
        let own = ticker.clone();
        let handle = std::thread::Builder::new().name("ticker".to_owned()).stack_size(64 << 10).spawn(move || own.run())?;
        let _ = ticker.thread.set(handle.thread().clone());
        Ok(ticker)
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
            self.engines.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Engine::increment_epoch);
        }
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

/// A guest's future: counted while it is polled, its time added to the task's.
pub struct Metered<F> {
    guest: Pin<Box<F>>,
    ticker: Arc<Ticker>,
    /// Nanoseconds that the task's guests were polled for.
    spent: Arc<AtomicU64>,
}

impl<F: Future> Metered<F> {
    pub fn new(guest: F, ticker: Arc<Ticker>, spent: Arc<AtomicU64>) -> Self {
        Self { guest: Box::pin(guest), ticker, spent }
    }
}

/// Leaves also when the guest's future panics.
struct Polled<'a>(&'a Ticker);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let start = Instant::now();
        this.ticker.enter();
        let polled = Polled(&this.ticker);
        let poll = this.guest.as_mut().poll(cx);
        drop(polled);
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        this.spent.fetch_add(nanos, Ordering::Relaxed);
        poll
    }
}

/// Makes a store's guest yield at the end of each epoch. `yield_now` lets the I/O driver run first.
pub fn interrupt_by_epochs<T: 'static>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::engine_config;
    use wasmtime::{Linker, Module};

    #[test]
    fn a_spinning_guest_lets_others_run_on_the_same_thread() {
        let ticker = Ticker::start().unwrap();
        let engine = Engine::new(&engine_config(None).unwrap()).unwrap();
        ticker.add(&engine);
        let module = Module::new(&engine, "(module (func (export \"_start\") (loop br 0)))").unwrap();
        let mut store = Store::new(&engine, ());
        interrupt_by_epochs(&mut store);
        let spent = Arc::new(AtomicU64::new(0));
        let guest = Metered::new(
            async move {
                let instance = Linker::new(&engine).instantiate_async(&mut store, &module).await?;
                instance.get_typed_func::<(), ()>(&mut store, "_start")?.call_async(&mut store, ()).await
            },
            ticker.clone(),
            spent.clone(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let other = async {
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = guest => panic!("it spins"),
                () = other => {}
            }
        });
        assert!(spent.load(Ordering::Relaxed) > 0);
        assert_eq!(ticker.running.load(Ordering::SeqCst), 0);
    }
}
