//! The events that `docker events` shows: the cluster's, this node's tasks', this node's images and volumes, as one stream.
//!
//! Owns: their merging. Invariants: what is remembered comes first, in the order of time; each source remembers a bounded number, and
//! a reader that is too slow loses the oldest, as with dockerd. Never: makes an event.

use super::node::Node;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::sync::broadcast;
use wsw_api::Time;
use wsw_api::event::Event;
use wsw_dockerapi::task_event;

/// The events from `since` on; without it only those to come.
pub fn merged(node: &Node, since: Option<Time>) -> BoxStream<'static, Event> {
    let (mut past, own) = node.local_events.subscribe();
    let mut all = vec![live(own).boxed()];
    if let Some(worker) = node.worker() {
        let (kept, tasks) = worker.events().subscribe();
        if since.is_some() {
            past.extend(kept.iter().map(task_event));
        }
        all.push(live(tasks).map(|event| task_event(&event)).boxed());
    }
    if let Ok(manager) = node.manager() {
        let (kept, cluster) = manager.events(since);
        past.extend(kept);
        all.push(live(cluster).boxed());
    }
    match since {
        Some(since) => past.retain(|event| event.time >= since),
        None => past.clear(),
    }
    past.sort_by_key(|event| event.time);
    stream::iter(past).chain(stream::select_all(all)).boxed()
}

fn live<T: Clone + Send + 'static>(receiver: broadcast::Receiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(event) => return Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}
