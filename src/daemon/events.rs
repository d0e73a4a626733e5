//! The events that `docker events` shows: the cluster's, this node's tasks', this node's images and volumes, as one stream.
//!
//! Owns: their merging. Invariants: what is remembered comes first, in the order of time; each source remembers a bounded number, and
//! a reader that is too slow loses the oldest, as with dockerd; a reader goes on when the node leaves a swarm, joins one or changes its role. Never: makes an event.

use super::node::Node;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use std::collections::VecDeque;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use wsw_api::Time;
use wsw_api::event::{Event, TaskEvent};
use wsw_dockerapi::task_event;
use wsw_manager::Manager;
use wsw_worker::Worker;

/// The events from `since` on; without it only those to come.
pub fn merged(node: &Node, since: Option<Time>) -> BoxStream<'static, Event> {
    let (mut past, own) = node.local_events.subscribe();
    let mut all = vec![live(own).boxed()];
    let mut workers = node.workers.subscribe();
    let (kept, tasks) = workers.borrow_and_update().as_ref().map(of_tasks).unzip();
    all.push(following(workers, (newest(kept.as_deref()), tasks), of_tasks, task_event).boxed());
    past.extend(kept.into_iter().flatten());
    let mut managers = node.managers.subscribe();
    let (kept, cluster) = managers.borrow_and_update().as_ref().map(of_cluster).unzip();
    all.push(following(managers, (newest(kept.as_deref()), cluster), of_cluster, Event::clone).boxed());
    past.extend(kept.into_iter().flatten());
    match since {
        Some(since) => past.retain(|event| event.time >= since),
        None => past.clear(),
    }
    past.sort_by_key(|event| event.time);
    stream::iter(past).chain(stream::select_all(all)).boxed()
}

/// What a source remembers, and what it will tell.
type Told<T> = (Vec<Event>, broadcast::Receiver<T>);

fn of_tasks(worker: &Worker) -> Told<TaskEvent> {
    let (kept, tasks) = worker.events().subscribe();
    (kept.iter().map(task_event).collect(), tasks)
}

fn of_cluster(manager: &Manager) -> Told<Event> {
    manager.events(Some(Time(0)))
}

/// The time of the last event that a source remembers; now where there is no source yet.
fn newest(kept: Option<&[Event]>) -> Time {
    kept.map_or_else(super::host::now, |kept| kept.iter().map(|event| event.time).max().unwrap_or_default())
}

/// Where a reader is.
struct Follower<S, T> {
    sources: watch::Receiver<Option<S>>,
    current: Option<broadcast::Receiver<T>>,
    /// What a new source remembers of after the last one.
    missed: VecDeque<Event>,
    /// Of what was told.
    last: Time,
    /// What was told before this source came; a manager that begins anew tells of old entries while it catches up.
    before: Time,
}

/// What a source tells, then the one that takes its place, and so on: of a new one all that is later than what was told.
fn following<S, T>(
    sources: watch::Receiver<Option<S>>,
    (last, current): (Time, Option<broadcast::Receiver<T>>),
    subscribe: fn(&S) -> Told<T>,
    event: fn(&T) -> Event,
) -> impl Stream<Item = Event> + Send
where
    S: Send + Sync + 'static,
    T: Clone + Send + 'static,
{
    let begin = Follower { sources, current, missed: VecDeque::new(), last, before: Time::default() };
    stream::unfold(begin, move |mut at| async move {
        loop {
            if let Some(event) = at.missed.pop_front() {
                at.last = at.last.max(event.time);
                return Some((event, at));
            }
            let told = match &mut at.current {
                Some(current) => current.recv().await,
                None => {
                    at.sources.changed().await.ok()?;
                    Err(RecvError::Closed)
                }
            };
            match told {
                Ok(told) => at.missed.extend(Some(event(&told)).filter(|event| event.time > at.before)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => {
                    let next = at.sources.borrow_and_update().as_ref().map(subscribe);
                    let (kept, current) = next.unzip();
                    at.before = at.last;
                    at.missed.extend(kept.into_iter().flatten().filter(|event| event.time > at.before));
                    at.current = current;
                }
            }
        }
    })
}

fn live<T: Clone + Send + 'static>(receiver: broadcast::Receiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(event) => return Some((event, receiver)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
}
