//! Who may have an instance of a replica now, who waits, and who is turned away.
//!
//! Owns: the permits and the count of those who wait. Invariants: permits are given in the order in which requests came, nobody overtakes one
//! that waits; no more wait than the bound. Never: looks at a request.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The instances of one replica.
pub struct Queue {
    instances: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// As many may wait.
    limit: usize,
}

/// What becomes of a request that wants an instance.
#[derive(Debug)]
pub enum Admission {
    Granted(OwnedSemaphorePermit),
    Full,
    Late,
    Cut,
}

impl Queue {
    pub fn new(instances: u32, limit: u32) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self { instances: Arc::new(Semaphore::new(number(instances).min(Semaphore::MAX_PERMITS))), waiting: AtomicUsize::new(0), limit: number(limit) }
    }

    /// Waits for a permit, no longer than until `deadline` or until `cut` is; `waits` is called if it is not to be had at once.
    pub async fn admit(&self, deadline: Instant, cut: &CancellationToken, waits: impl FnOnce()) -> Admission {
        if let Ok(permit) = self.instances.clone().try_acquire_owned() {
            return Admission::Granted(permit);
        }
        let waiting = Waiting::new(self);
        if waiting.position >= self.limit {
            return Admission::Full;
        }
        waits();
        tokio::select! {
            biased;
            permit = self.instances.clone().acquire_owned() => permit.map_or(Admission::Cut, Admission::Granted),
            () = cut.cancelled() => Admission::Cut,
            () = tokio::time::sleep_until(deadline) => Admission::Late,
        }
    }
}

/// One place among those who wait.
struct Waiting<'a> {
    queue: &'a Queue,
    position: usize,
}

impl<'a> Waiting<'a> {
    fn new(queue: &'a Queue) -> Self {
        Self { queue, position: queue.waiting.fetch_add(1, Ordering::SeqCst) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{pin::Pin, task::Poll, time::Duration};

    /// Whether it has an answer now.
    async fn now<F: Future>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn requests_are_admitted_in_the_order_in_which_they_came() {
        let (queue, cut, later) = (Queue::new(1, 4), CancellationToken::new(), Instant::now() + Duration::from_secs(3_600));
        let come = || Box::pin(queue.admit(later, &cut, || ()));
        let Some(Admission::Granted(first)) = now(&mut come()).await else { panic!("the first has it at once") };
        let mut waiting = [come(), come(), come()];
        for one in &mut waiting {
            assert!(now(one).await.is_none());
        }
        let mut most = come();
        assert!(now(&mut most).await.is_none());
        assert!(matches!(now(&mut come()).await, Some(Admission::Full)));
        drop(most);
        // One that goes away leaves its place to another, behind the rest.
        let [second, left, fourth] = waiting;
        drop(left);
        let mut last = come();
        assert!(now(&mut last).await.is_none());
        let mut permit = first;
        for mut next in [second, fourth, last] {
            assert!(now(&mut next).await.is_none());
            drop(permit);
            // Who comes between does not overtake.
            let mut between = come();
            assert!(now(&mut between).await.is_none());
            let Some(Admission::Granted(granted)) = now(&mut next).await else { panic!("its turn") };
            permit = granted;
        }
        let mut waits = come();
        assert!(now(&mut waits).await.is_none());
        cut.cancel();
        assert!(matches!(now(&mut waits).await, Some(Admission::Cut)));
        assert!(matches!(queue.admit(Instant::now(), &CancellationToken::new(), || ()).await, Admission::Late));
        drop(permit);
    }
}
