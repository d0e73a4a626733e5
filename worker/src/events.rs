//! What happened to this node's tasks, for `docker events` and those who wait for a task's end.
//!
//! Owns: the ring of the last events with its broadcast. Invariants: adding one costs a few copies and never waits; a reader that
//! falls behind loses the oldest events. Never: words; those are Docker's (crate `dockerapi`).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;
use wsw_api::event::MAX_BACKLOG;

/// The last [`MAX_BACKLOG`] events, and those to come.
#[derive(Debug)]
pub struct Ring<T> {
    kept: Mutex<VecDeque<T>>,
    sender: broadcast::Sender<T>,
}

impl<T: Clone> Default for Ring<T> {
    fn default() -> Self {
        Self { kept: Mutex::default(), sender: broadcast::Sender::new(MAX_BACKLOG) }
    }
}

impl<T: Clone> Ring<T> {
    /// Adds one; answers how many listen.
    pub fn send(&self, event: T) -> usize {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_BACKLOG {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        self.sender.send(event).unwrap_or(0)
    }

    /// What is kept, and all that follows; nothing is lost or twice in between.
    pub fn subscribe(&self) -> (Vec<T>, broadcast::Receiver<T>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.sender.subscribe())
    }

    /// All that follows.
    pub fn follow(&self) -> broadcast::Receiver<T> {
        self.sender.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_bounded_and_nothing_is_lost_between_past_and_future() {
        let ring = Ring::default();
        (0..MAX_BACKLOG + 5).for_each(|n| {
            ring.send(n);
        });
        let (past, mut next) = ring.subscribe();
        assert_eq!((past.len(), past[0]), (MAX_BACKLOG, 5));
        assert_eq!(ring.send(7), 1);
        assert_eq!(next.try_recv().unwrap(), 7);
    }
}
