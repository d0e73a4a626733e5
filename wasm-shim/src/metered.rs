//! The future that every guest is polled in: interrupted, measured, limited, and moved to the background when it computes for long.
//!
//! Owns: where a guest is polled. Invariants: guest code runs only in here; each poll is charged to the task; a task out of tokens is not
//! polled; dropping this drops the guest, at once or (in the background, while it runs) at the end of its slice. A guest whose slice is
//! over yields after the I/O driver has been polled.

use crate::{
    background::{Taken, thread_time},
    cpu::{TaskCpu, since_start},
    ticker::Ticker,
};
use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Sleep, sleep},
};
use wasmtime::{Store, UpdateDeadline};

/// Processor time that a guest has on the guest runtime before it goes to the background: more than a request takes that a client waits for.
const CREDIT: Duration = Duration::from_millis(10);
/// Waiting for something earns one part in so many of the time: who computes a fifth of the time stays.
const EARN: u32 = 4;

thread_local! {
    /// The poll that runs on this thread was ended by an epoch.
    static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
}

/// Makes a store's guest yield at the end of each epoch. `yield_now` lets the I/O driver run first.
pub fn interrupt_by_epochs<T: 'static>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| {
        INTERRUPTED.set(true);
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
}

/// What a guest is measured by.
#[derive(Clone)]
struct Meter {
    ticker: Arc<Ticker>,
    cpu: Arc<TaskCpu>,
}

/// How a poll went.
struct Slice<T> {
    poll: Poll<T>,
    /// The guest would have gone on.
    interrupted: bool,
    spent: Duration,
}

impl Meter {
    fn slice<F: Future>(&self, guest: &mut Living<F>, cx: &mut Context<'_>) -> Slice<F::Output> {
        INTERRUPTED.set(false);
        let polled = self.ticker.enter_guest();
        let mut spent = 0;
        let charge = Charge { cpu: &self.cpu, begin: thread_time(), spent: &mut spent };
        let poll = guest.future.as_mut().poll(cx);
        drop((charge, polled));
        Slice { poll, interrupted: INTERRUPTED.get(), spent: Duration::from_nanos(spent) }
    }
}

/// Charges a poll also when the guest's future panics.
struct Charge<'a> {
    cpu: &'a TaskCpu,
    begin: u64,
    spent: &'a mut u64,
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        *self.spent = thread_time().saturating_sub(self.begin);
        self.cpu.charge(*self.spent, since_start(Instant::now()));
    }
}

/// A guest's future, counted until it is gone.
struct Living<F> {
    future: Pin<Box<F>>,
    _count: Count,
}

struct Count(Arc<TaskCpu>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.died();
    }
}

/// The pause of a guest whose task is out of tokens.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    /// Pending while the task may not run; wakes when it may.
    fn poll(&mut self, cpu: &TaskCpu, cx: &mut Context<'_>) -> Poll<()> {
        if !cpu.is_limited() {
            return Poll::Ready(());
        }
        loop {
            if let Some(pause) = &mut self.0 {
                ready!(pause.as_mut().poll(cx));
                self.0 = None;
            }
            match cpu.pause(since_start(Instant::now())) {
                Some(pause) => self.0 = Some(Box::pin(sleep(pause))),
                None => return Poll::Ready(()),
            }
        }
    }
}

/// A guest's future, measured.
pub struct Metered<F: Future> {
    place: Place<F>,
    meter: Meter,
    pause: Pause,
    credit: Duration,
    waits_since: Option<Instant>,
}

enum Place<F: Future> {
    Here(Living<F>),
    /// The channel is dropped before the guest: its future then knows.
    Away {
        back: oneshot::Receiver<Return<F>>,
        _held: Taken,
    },
    /// It has ended.
    Nowhere,
}

/// What comes back from the background.
enum Return<F: Future> {
    Ended(F::Output),
    /// It waits for something.
    Waits(Living<F>),
    Panicked(Box<dyn Any + Send>),
}

impl<F: Future> Metered<F> {
    pub fn new(guest: F, ticker: Arc<Ticker>, cpu: Arc<TaskCpu>) -> Self {
        cpu.born();
        let living = Living { future: Box::pin(guest), _count: Count(cpu.clone()) };
        Self { place: Place::Here(living), meter: Meter { ticker, cpu }, pause: Pause::default(), credit: CREDIT, waits_since: None }
    }
}

// The guest is pinned in a box of its own.
impl<F: Future> Unpin for Metered<F> {}

impl<F> Future for Metered<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        loop {
            match &mut this.place {
                Place::Here(guest) => {
                    ready!(this.pause.poll(&this.meter.cpu, cx));
                    if let Some(since) = this.waits_since.take() {
                        this.credit = CREDIT.min(this.credit + since.elapsed() / EARN);
                    }
                    let slice = this.meter.slice(guest, cx);
                    this.credit = this.credit.saturating_sub(slice.spent);
                    if slice.poll.is_ready() {
                        this.place = Place::Nowhere;
                        return slice.poll;
                    }
                    if !slice.interrupted {
                        this.waits_since = Some(Instant::now());
                    } else if this.credit.is_zero() {
                        this.send_away();
                        continue;
                    }
                    return Poll::Pending;
                }
                Place::Away { back, .. } => match ready!(Pin::new(back).poll(cx)) {
                    Ok(Return::Ended(output)) => {
                        this.place = Place::Nowhere;
                        return Poll::Ready(output);
                    }
                    Ok(Return::Waits(guest)) => this.place = Place::Here(guest),
                    Ok(Return::Panicked(panic)) => {
                        this.place = Place::Nowhere;
                        resume_unwind(panic)
                    }
                    // The background threads live as long as the process.
                    Err(_) => return Poll::Pending,
                },
                Place::Nowhere => return Poll::Pending,
            }
        }
    }
}

impl<F> Metered<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn send_away(&mut self) {
        let Some(background) = self.meter.ticker.background() else { return };
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Here(guest) => {
                let (send, back) = oneshot::channel();
                let away = Away { guest: Some(guest), meter: self.meter.clone(), pause: Pause::default(), send: Some(send) };
                self.place = Place::Away { back, _held: background.take(Box::pin(away), Handle::current()) };
            }
            other => self.place = other,
        }
    }
}

/// A guest in the background.
struct Away<F: Future> {
    guest: Option<Living<F>>,
    meter: Meter,
    pause: Pause,
    send: Option<oneshot::Sender<Return<F>>>,
}

// The guest is pinned in a box of its own.
impl<F: Future> Unpin for Away<F> {}

impl<F: Future> Future for Away<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.send.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return Poll::Ready(());
        }
        ready!(this.pause.poll(&this.meter.cpu, cx));
        let Some(guest) = &mut this.guest else { return Poll::Ready(()) };
        let back = match catch_unwind(AssertUnwindSafe(|| this.meter.slice(guest, cx))) {
            Ok(Slice { poll: Poll::Ready(output), .. }) => Some(Return::Ended(output)),
            Ok(Slice { interrupted: true, .. }) => None,
            Ok(_) => this.guest.take().map(Return::Waits),
            Err(panic) => Some(Return::Panicked(panic)),
        };
        match back {
            Some(back) => {
                // What has ended is gone before anyone hears of it.
                this.guest = None;
                if let Some(send) = this.send.take() {
                    let _ = send.send(back);
                }
                Poll::Ready(())
            }
            None if this.send.as_ref().is_none_or(oneshot::Sender::is_closed) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::{CpuLimit, nanos},
        engine::engine_config,
        ticker::EPOCH,
    };
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::Semaphore;
    use wasmtime::{Engine, Linker, Module};

    const SPIN: &str = r#"(module (func (export "_start") (loop br 0)))"#;

    type Seen = Arc<AtomicBool>;

    fn guest(ticker: &Arc<Ticker>, wat: &str, cpu: &Arc<TaskCpu>, gate: &Arc<Semaphore>) -> Metered<impl Future<Output = wasmtime::Result<()>> + Send + use<>> {
        guest_that_is_seen(ticker, wat, cpu, gate, &Seen::default())
    }

    fn guest_that_is_seen(
        ticker: &Arc<Ticker>,
        wat: &str,
        cpu: &Arc<TaskCpu>,
        gate: &Arc<Semaphore>,
        seen: &Seen,
    ) -> Metered<impl Future<Output = wasmtime::Result<()>> + Send + use<>> {
        let engine = Engine::new(&engine_config(None).unwrap()).unwrap();
        ticker.add(&engine);
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, ());
        interrupt_by_epochs(&mut store);
        let mut linker = Linker::new(&engine);
        let gate = gate.clone();
        let pass = linker.func_wrap_async("t", "pass", move |_, (): ()| {
            let gate = gate.clone();
            Box::new(async move { gate.acquire().await.unwrap().forget() })
        });
        pass.unwrap();
        let seen = seen.clone();
        linker.func_wrap("t", "seen", move || i32::from(seen.load(Ordering::SeqCst))).unwrap();
        let run = async move {
            let instance = linker.instantiate_async(&mut store, &module).await?;
            instance.get_typed_func::<(), ()>(&mut store, "_start")?.call_async(&mut store, ()).await
        };
        Metered::new(run, ticker.clone(), cpu.clone())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_guest_that_computes_leaves_the_runtime_and_is_dropped_with_its_future() {
        let (ticker, cpu) = (Ticker::started(), Arc::new(TaskCpu::default()));
        runtime().block_on(async {
            let mut guest = Box::pin(guest(&ticker, SPIN, &cpu, &Arc::new(Semaphore::new(0))));
            let away = std::future::poll_fn(|cx| {
                assert!(guest.as_mut().poll(cx).is_pending());
                if matches!(guest.place, Place::Away { .. }) { Poll::Ready(()) } else { Poll::Pending }
            });
            away.await;
            // It goes on there.
            let before = cpu.spent();
            while cpu.spent() < before + 2 * nanos(CREDIT) {
                tokio::task::yield_now().await;
            }
            drop(guest);
            tokio::time::timeout(Duration::from_secs(60), cpu.all_gone()).await.unwrap();
        });
    }

    #[test]
    fn a_guest_comes_back_when_it_waits_and_its_end_is_told_from_either_side() {
        // Computes until it was seen in the background, waits at the gate, and all that again.
        let wat = r#"(module (import "t" "pass" (func $pass)) (import "t" "seen" (func $seen (result i32))) (func (export "_start") (local $n i32)
          (local.set $n (i32.const 3))
          (loop $again
            (loop $work (br_if $work (i32.eqz (call $seen))))
            (call $pass)
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
          (if (global.get $trap) (then unreachable))) (global $trap i32 (i32.const 0)))"#;
        let ticker = Ticker::started();
        for (wat, traps) in [(wat.to_owned(), false), (wat.replace("(i32.const 0)))", "(i32.const 1)))"), true)] {
            let (cpu, seen) = (Arc::new(TaskCpu::default()), Arc::new(AtomicBool::new(false)));
            runtime().block_on(async {
                let gate = Arc::new(Semaphore::new(0));
                let mut guest = Box::pin(guest_that_is_seen(&ticker, &wat, &cpu, &gate, &seen));
                let mut returns = 0;
                let end = std::future::poll_fn(|cx| {
                    let polled = guest.as_mut().poll(cx);
                    match guest.place {
                        Place::Away { .. } => seen.store(true, Ordering::SeqCst),
                        // It only waits at the gate, once a round: it goes there when it was seen.
                        Place::Here(_) if guest.waits_since.is_some() && seen.swap(false, Ordering::SeqCst) => {
                            returns += 1;
                            gate.add_permits(1);
                        }
                        _ => {}
                    }
                    polled
                });
                assert_eq!(end.await.is_err(), traps);
                assert_eq!(returns, 3);
                cpu.all_gone().await;
            });
        }
    }

    #[test]
    fn a_task_out_of_tokens_is_not_polled_and_others_are() {
        let limit = CpuLimit { quota: Duration::from_millis(1), period: Duration::from_secs(3_600) };
        let (ticker, cpu) = (Ticker::started(), Arc::new(TaskCpu::new(Some(limit))));
        runtime().block_on(async {
            let (free, gate) = (Arc::new(TaskCpu::default()), Arc::new(Semaphore::new(0)));
            let (guest, other) = (guest(&ticker, SPIN, &cpu, &gate), guest(&ticker, SPIN, &free, &gate));
            // The one stands still while the other gets on.
            let out = async {
                loop {
                    let (limited, before) = (cpu.spent(), free.spent());
                    while free.spent() < before + nanos(10 * EPOCH) || limited == 0 && cpu.spent() == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    if limited > 0 && cpu.spent() == limited {
                        return;
                    }
                }
            };
            tokio::select! {
                _ = guest => panic!("it spins"),
                _ = other => panic!("it spins"),
                out = tokio::time::timeout(Duration::from_secs(60), out) => out.unwrap(),
            }
        });
    }
}
