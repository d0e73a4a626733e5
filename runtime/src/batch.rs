//! Small file work in order, on one blocking thread at a time.
//!
//! Owns: the queue. Ten thousand tasks that come at once cost one thread's wake-up per batch, not one per file: each piece takes some
//! 50 µs, waking a thread for it takes as long on an idle machine and many times that on a busy one.

use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot};

/// Pieces that wait; beyond it callers wait for their turn. A piece carries the bytes of a bundle (2 KiB).
const MAX_WAITING: usize = 4_096;

type Piece = Box<dyn FnOnce() + Send>;

/// A queue of pieces of work.
#[derive(Clone)]
pub(crate) struct Batch {
    queue: Arc<Mutex<Queue>>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Piece>,
    /// A thread is at work, and will see what is added.
    running: bool,
}

impl Default for Batch {
    fn default() -> Self {
        Self { queue: Arc::default(), places: Arc::new(Semaphore::new(MAX_WAITING)) }
    }
}

impl Batch {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the piece after those that were there before, also when the caller goes away.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let closed = || Error::Temporary("file work was cut off".into());
        let _place = self.places.acquire().await.map_err(|_| closed())?;
        let (done, result) = oneshot::channel();
        let start = {
            let mut queue = self.lock();
            // Nobody waiting for the result any more is no error.
            queue.waiting.push_back(Box::new(move || drop(done.send(work()))));
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            let own = self.clone();
            tokio::task::spawn_blocking(move || own.drain());
        }
        result.await.map_err(|_| closed())
    }

    fn drain(&self) {
        loop {
            let piece = {
                let mut queue = self.lock();
                let Some(piece) = queue.waiting.pop_front() else {
                    queue.running = false;
                    return;
                };
                piece
            };
            // A piece that panics drops its answer, and that is what its caller sees; the queue goes on.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(piece));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_run_in_order_and_answer() {
        let (batch, seen) = (Batch::default(), Arc::new(Mutex::new(Vec::new())));
        let pieces = (0..10_000).map(|number| {
            let seen = seen.clone();
            batch.run(move || {
                seen.lock().unwrap().push(number);
                number
            })
        });
        let answers = futures_util::future::join_all(pieces).await.into_iter().collect::<Result<Vec<_>>>().unwrap();
        assert_eq!(answers, (0..10_000).collect::<Vec<_>>());
        assert_eq!(seen.lock().unwrap().len(), 10_000);
    }

    #[tokio::test]
    async fn a_piece_that_panics_fails_itself_and_the_queue_goes_on() {
        let batch = Batch::default();
        assert!(batch.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(batch.run(|| 1).await, Ok(1));
    }
}
