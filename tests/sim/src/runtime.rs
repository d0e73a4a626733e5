//! openraft's runtime in the simulation: tokio on one thread with paused time, chance from the seed, machines that can be killed.
//!
//! Owns: the machine to which a task belongs; a task that a machine's task starts is that machine's. Invariants: what was killed is never
//! polled again; blocking work is done at once, where it is asked for, so no second thread decides an order.

use crate::chance;
use openraft::AsyncRuntime;
use openraft_rt_sim::SimWatch;
use openraft_rt_tokio::{TokioInstant, TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime};
use rand10::SeedableRng;
use rand10::rngs::SmallRng;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinError, JoinHandle};

tokio::task_local! {
    static MACHINE: Arc<Machine>;
}

/// One start of a manager or worker: all of its tasks end together.
#[derive(Debug, Default)]
pub struct Machine {
    dead: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Machine {
    /// A task of this machine.
    pub fn spawn<T: Send + 'static>(self: &Arc<Self>, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = tokio::spawn(MACHINE.scope(self.clone(), future));
        let mut tasks = self.tasks.lock().unwrap();
        if self.is_dead() {
            task.abort();
        }
        if tasks.len() > 256 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task.abort_handle());
        task
    }

    /// Ends all of its tasks, wherever they are.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }

    /// True once it was killed.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Runs something synchronous as this machine's (what it starts belongs to it).
    pub fn within<T>(self: &Arc<Self>, run: impl FnOnce() -> T) -> T {
        MACHINE.sync_scope(self.clone(), run)
    }
}

/// The runtime.
#[derive(Debug)]
pub struct Simulated;

impl AsyncRuntime for Simulated {
    type JoinError = JoinError;
    type JoinHandle<T: Send + 'static> = JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = tokio::time::Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = TokioMpsc;
    /// tokio's own wakes those that wait in an order that chance has.
    type Watch = SimWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: Send + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        match MACHINE.try_with(Arc::clone) {
            Ok(machine) => machine.spawn(future),
            Err(_) => tokio::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: TokioInstant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + Send>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: TokioInstant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(error: &JoinError) -> bool {
        error.is_panic()
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(chance::next())
    }

    fn new(_: usize) -> Self {
        Self
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = io::Result<T>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        std::future::ready(Ok(work()))
    }
}

/// Runs to the end on virtual time.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}
