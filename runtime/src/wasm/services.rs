//! Which shims have ready tasks of a service, and handing connections to them.
//!
//! Owns: the counts. A task counts from its start until it is asked to stop or has ended, so that a task chosen to stop gets nothing new.
//! Never: knows which replica serves a connection; that is the shim's choice, request by request.

use crate::error::Result;
use crate::shim::Pool;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wsw_api::ServiceId;
use wsw_api::shim::HandoverOutcome;
use wsw_api::spec::Protocol;

/// Ready tasks by service and shim.
#[derive(Default)]
pub(super) struct Services {
    ready: Mutex<BTreeMap<ServiceId, BTreeMap<u32, u32>>>,
    turn: AtomicU32,
}

impl Services {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceId, BTreeMap<u32, u32>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, service: ServiceId, shim: u32) {
        *self.lock().entry(service).or_default().entry(shim).or_default() += 1;
    }

    pub(super) fn take_out(&self, service: ServiceId, shim: u32) {
        let mut ready = self.lock();
        let Some(shims) = ready.get_mut(&service) else { return };
        if let Some(count) = shims.get_mut(&shim) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shims.remove(&shim);
            }
        }
        if shims.is_empty() {
            ready.remove(&service);
        }
    }

    pub(super) fn has(&self, service: ServiceId) -> bool {
        self.lock().contains_key(&service)
    }

    /// Shims of the service, the one whose turn it is first. A shim's share of turns is its share of ready tasks.
    fn order(&self, service: ServiceId) -> Vec<u32> {
        let ready = self.lock();
        let Some(shims) = ready.get(&service) else { return Vec::new() };
        let total = shims.values().sum::<u32>().max(1);
        let mut turn = self.turn.fetch_add(1, Ordering::Relaxed) % total;
        let mut order = shims.keys().copied().collect::<Vec<_>>();
        let first = shims.values().position(|count| match turn.checked_sub(*count) {
            Some(rest) => {
                turn = rest;
                false
            }
            None => true,
        });
        order.rotate_left(first.unwrap_or_default());
        order
    }

    pub(super) async fn handover(
        &self,
        pool: &Pool,
        service: ServiceId,
        port: (Protocol, u16),
        client: SocketAddr,
        conn: BorrowedFd<'_>,
    ) -> Result<HandoverOutcome> {
        let mut answer = HandoverOutcome::None;
        for number in self.order(service) {
            let Some(shim) = pool.get(number) else { continue };
            let handovers = match shim.handovers() {
                Ok(handovers) => handovers,
                // Nothing was sent yet: the next one may have it.
                Err(error) => {
                    tracing::warn!(shim = number, %error, "no hand-over");
                    continue;
                }
            };
            match handovers.offer(service, port, client, conn).await? {
                Some(HandoverOutcome::Taken) => return Ok(HandoverOutcome::Taken),
                Some(HandoverOutcome::Full) => answer = HandoverOutcome::Full,
                // Also when the shim died over it: it had not begun with the connection, so the next one may have it.
                Some(HandoverOutcome::None) | None => {}
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_number_of_ready_tasks() {
        let (services, service) = (Services::default(), ServiceId::from_bytes([1; 16]));
        [1, 1, 1, 2].into_iter().for_each(|shim| services.add(service, shim));
        let firsts = (0..8).map(|_| services.order(service)[0]).collect::<Vec<_>>();
        assert_eq!(firsts.iter().filter(|shim| **shim == 1).count(), 6);
        [1, 1, 1].into_iter().for_each(|shim| services.take_out(service, shim));
        assert_eq!(services.order(service), [2]);
        services.take_out(service, 2);
        assert!(!services.has(service));
        assert!(services.order(service).is_empty());
    }
}
