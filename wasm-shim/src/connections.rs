//! The connections of a shim: the bound on them, who gives up a place for others, and who has gone away.
//!
//! Owns: who is open. Invariants: a connection with a request in flight is ended for two reasons only, that its client takes no bytes and that
//! its client has gone; there is no idle time-out, but when the places are taken the connections that wait for longest give theirs up, those
//! that never sent a request first. So slow clients cannot keep others out, and the last places are kept for services that have few, so a
//! flood of one service cannot keep out the clients of another. Never: reads or writes a connection itself.
//!
//! Time is counted in ticks of a second, so that the path of a request costs a load and a store.

use crate::{handover::register, watch::Watch};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};
use std::{
    collections::HashMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use wsw_api::id::ServiceId;

const TICK: Duration = Duration::from_secs(1);
/// A connection that waits for less is not ended for the sake of others: the newcomers of one burst must not push each other out.
const MIN_WAIT: u64 = 2;
/// This part of all places is cleared in one go, so that a flood does not look through them for each newcomer.
const CLEARED_PART: usize = 64;
/// This part of all places is kept for services that hold no more than as many: room for the others while one is flooded.
const KEPT_PART: usize = 16;
/// Clients that are heard of in one go.
const HEARD: usize = 256;

/// All connections.
pub struct Connections {
    limit: usize,
    open: Mutex<Open>,
    tick: AtomicU64,
    /// Told when the first connection comes: the sweeper sleeps while there is none.
    first: Notify,
    /// Tells which of the connections that are looked out for were closed by their clients.
    goodbyes: io::Result<OwnedFd>,
}

#[derive(Default)]
struct Open {
    next: u64,
    watches: HashMap<u64, (ServiceId, Arc<Watch>)>,
    services: HashMap<ServiceId, usize>,
    /// Told to end, not gone yet.
    ending: usize,
    /// The tick of the last look for those to end.
    looked: u64,
}

impl Open {
    fn held_by(&self, service: ServiceId) -> usize {
        self.services.get(&service).copied().unwrap_or(0)
    }
}

impl Connections {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Arc<Self> {
        let goodbyes = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from);
        // Ticks begin late enough for zero to mean "never".
        Arc::new(Self { limit, open: Mutex::default(), tick: AtomicU64::new(MIN_WAIT + 1), first: Notify::new(), goodbyes })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// A place for a connection of a service; none when all that it may have are taken. Then those that wait for longest are told to end, so
    /// a later try may have one.
    pub fn enter(self: &Arc<Self>, service: ServiceId) -> Option<Place> {
        let mut open = self.lock();
        let kept = self.limit / KEPT_PART;
        let limit = if open.held_by(service) < kept { self.limit } else { self.limit - kept };
        if open.watches.len() >= limit {
            self.make_room(&mut open);
            return None;
        }
        let id = open.next;
        open.next += 1;
        let watch = Arc::new(Watch::new(self.clone(), id));
        open.watches.insert(id, (service, watch.clone()));
        *open.services.entry(service).or_default() += 1;
        if open.watches.len() == 1 {
            self.first.notify_one();
        }
        Some(Place { id, service, watch })
    }

    fn make_room(&self, open: &mut Open) {
        let now = self.now();
        if open.ending > 0 || open.looked == now {
            return;
        }
        open.looked = now;
        let kept = self.limit / KEPT_PART;
        let waits = |(_, watch): &&(ServiceId, Arc<Watch>)| watch.waits_since().is_some_and(|since| now.saturating_sub(since) >= MIN_WAIT);
        let mut waiting: Vec<_> = open.watches.values().filter(waits).collect();
        waiting.sort_unstable_by_key(|(service, watch)| (open.held_by(*service) <= kept, watch.has_asked(), watch.waits_since()));
        let chosen = waiting.into_iter().take((self.limit / CLEARED_PART).max(1));
        open.ending = chosen.filter(|(_, watch)| watch.end()).count();
    }

    /// One that was told to end goes on.
    pub fn stays(&self) {
        let mut open = self.lock();
        open.ending = open.ending.saturating_sub(1);
    }

    /// Counts the ticks and ends connections whose time is up, for ever.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            if self.lock().watches.is_empty() {
                self.first.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.pass(1);
        }
    }

    pub fn pass(&self, ticks: u64) {
        let now = self.tick.fetch_add(ticks, Ordering::Relaxed) + ticks;
        let mut open = self.lock();
        let ended = open.watches.values().filter(|(_, watch)| watch.is_late(now) && watch.end()).count();
        open.ending += ended;
    }

    /// From now on the end of this connection's other side is heard, whatever lies unread before it.
    pub fn look_out(&self, id: u64, descriptor: BorrowedFd<'_>) {
        let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT;
        let added = self.goodbyes.as_ref().map(|goodbyes| epoll::add(goodbyes, descriptor, epoll::EventData::new_u64(id), flags));
        if !matches!(added, Ok(Ok(()))) {
            tracing::debug!(?added, "a client that goes away will not be noticed");
        }
    }

    /// Ends the connections of clients that have gone, for ever.
    pub async fn hear(self: Arc<Self>) -> io::Result<()> {
        let goodbyes = self.goodbyes.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        let ready = register(goodbyes.try_clone()?)?;
        loop {
            let mut guard = ready.readable().await?;
            let gone = told(goodbyes)?;
            if gone.is_empty() {
                guard.clear_ready();
                continue;
            }
            let open = self.lock();
            // One that has ended by itself is not there any more; its number is not used again.
            gone.iter().filter_map(|id| open.watches.get(id)).for_each(|(_, watch)| watch.hang_up());
        }
    }
}

/// Numbers of connections whose clients have gone.
fn told(goodbyes: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut events = Vec::with_capacity(HEARD);
    epoll::wait(goodbyes, spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(events.iter().map(|event| event.data.u64()).collect())
}

/// A connection's place, given back when it is dropped.
pub struct Place {
    id: u64,
    service: ServiceId,
    pub watch: Arc<Watch>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.watch.connections().lock();
        open.watches.remove(&self.id);
        if let Some(count) = open.services.get_mut(&self.service) {
            *count -= 1;
            if *count == 0 {
                open.services.remove(&self.service);
            }
        }
        if self.watch.is_ending() {
            open.ending = open.ending.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{HEAD_LIMIT, STUCK_LIMIT, Watched};
    use std::os::unix::net::UnixStream;

    const FLOODED: ServiceId = ServiceId::from_bytes([1; 16]);
    const SMALL: ServiceId = ServiceId::from_bytes([2; 16]);

    fn ends(place: &Place) -> bool {
        place.watch.is_ending()
    }

    fn enter(connections: &Arc<Connections>) -> Option<Place> {
        connections.enter(FLOODED)
    }

    #[test]
    fn when_full_the_ones_that_wait_for_longest_give_up_their_place() {
        let connections = Connections::new(3);
        let busy = enter(&connections).unwrap();
        let request = busy.watch.begin(false);
        let asked = enter(&connections).unwrap();
        drop(asked.watch.begin(false));
        let silent = enter(&connections).unwrap();
        assert!(enter(&connections).is_none());
        assert!(!ends(&silent), "it has only come");
        connections.pass(MIN_WAIT);
        assert!(enter(&connections).is_none());
        assert_eq!([ends(&busy), ends(&asked), ends(&silent)], [false, false, true], "who never asked goes first");
        assert!(enter(&connections).is_none(), "and nobody else until it has gone");
        drop(silent);
        let next = enter(&connections).unwrap();
        connections.pass(1);
        assert!(enter(&connections).is_none());
        assert_eq!([ends(&busy), ends(&asked), ends(&next)], [false, true, false], "then who asked, never who is served");
        drop(request);
    }

    #[test]
    fn the_last_places_are_for_services_that_have_few() {
        let connections = Connections::new(32);
        let flood: Vec<_> = std::iter::from_fn(|| enter(&connections)).collect();
        assert_eq!(flood.len(), 30);
        let small: Vec<_> = std::iter::from_fn(|| connections.enter(SMALL)).collect();
        assert_eq!(small.len(), 2, "as many as are kept");
        connections.pass(MIN_WAIT);
        assert!(enter(&connections).is_none() && connections.enter(SMALL).is_none());
        assert_eq!((flood.iter().filter(|place| ends(place)).count(), small.iter().any(ends)), (1, false), "who has many gives up");
        drop((flood, small));
        assert!(connections.lock().services.is_empty() && connections.lock().watches.is_empty());
    }

    #[test]
    fn slow_heads_end_and_idle_connections_do_not() {
        let connections = Connections::new(9);
        let places: Vec<_> = (0..4).map(|_| enter(&connections).unwrap()).collect();
        let [silent, idle, slow, framed] = places.try_into().map_err(|_| "four").unwrap();
        drop(idle.watch.begin(false));
        drop(slow.watch.begin(false));
        drop(framed.watch.begin(true));
        connections.pass(5 * HEAD_LIMIT);
        assert_eq!([ends(&silent), ends(&idle), ends(&slow), ends(&framed)], [true, false, false, false]);
        slow.watch.has_read();
        framed.watch.has_read();
        connections.pass(HEAD_LIMIT);
        assert!(!ends(&slow));
        connections.pass(1);
        assert_eq!([ends(&idle), ends(&slow), ends(&framed)], [false, true, false]);
    }

    #[test]
    fn a_client_that_takes_nothing_is_ended_although_it_is_served() {
        let connections = Connections::new(9);
        let place = enter(&connections).unwrap();
        let _request = place.watch.begin(false);
        place.watch.has_written(false);
        connections.pass(STUCK_LIMIT);
        place.watch.has_written(true);
        connections.pass(STUCK_LIMIT);
        assert!(!ends(&place), "it took some");
        place.watch.has_written(false);
        connections.pass(STUCK_LIMIT + 1);
        assert!(ends(&place));
    }

    /// Nobody reads here, so only the kernel can tell.
    #[tokio::test]
    async fn a_client_that_goes_is_heard_behind_what_lies_unread() {
        let connections = Connections::new(9);
        let hearing = tokio::spawn(connections.clone().hear());
        let pair = || {
            let (client, server) = UnixStream::pair().unwrap();
            std::io::Write::write_all(&mut &client, b"unread").unwrap();
            server.set_nonblocking(true).unwrap();
            let place = enter(&connections).unwrap();
            (client, Watched::new(tokio::net::UnixStream::from_std(server).unwrap(), place.watch.clone()), place)
        };
        let (leaves, stays, was_gone) = (pair(), pair(), pair());
        drop(was_gone.0);
        let requests = [&leaves.2, &stays.2, &was_gone.2].map(|place| place.watch.begin(false));
        requests.iter().for_each(|request| request.look_out());
        was_gone.2.watch.ended().await;
        drop(leaves.0);
        leaves.2.watch.ended().await;
        assert!(futures_util::FutureExt::now_or_never(stays.2.watch.ended()).is_none());
        // A descriptor that is closed is not looked out for.
        drop(stays.1);
        stays.2.watch.begin(false).look_out();
        hearing.abort();
    }
}
