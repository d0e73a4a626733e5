//! A machine that gets another address: what this node advertises follows, if nobody named it.
//!
//! Owns: when to look, and who is told. Connections go on meanwhile (QUIC names them by ids, not by addresses); the others need the new
//! address to begin some. Never: a second choice while the first still is an address of this machine.

use super::address;
use super::member::Record;
use std::time::Duration;
use wsw_manager::Manager;
use wsw_worker::Worker;

/// Between two looks at this machine's addresses: less than it takes until a silent connection is given up.
const LOOK: Duration = Duration::from_secs(1);

/// Runs as long as the membership; never completes.
pub async fn watch(worker: &Worker, manager: Option<&Manager>, record: &Record) {
    loop {
        tokio::time::sleep(LOOK).await;
        let kept = record.get();
        if !kept.chosen || address::is_here(kept.advertise.ip()) {
            continue;
        }
        let remote = record.managers().first().copied();
        let now = remote.map_or_else(|| address::choose(kept.listen), |remote| address::towards(kept.listen, remote));
        if now == kept.advertise || !address::is_here(now.ip()) || (now.ip().is_loopback() && !kept.advertise.ip().is_loopback()) {
            continue;
        }
        tracing::info!(before = %kept.advertise, %now, "this node has another address; the others are told");
        if let Err(error) = record.set_advertise(now) {
            tracing::warn!(error = format!("{error:#}"), "the new address could not be written down");
        }
        if let Some(manager) = manager {
            manager.moved(now);
        }
        worker.announce(now.to_string()).await;
    }
}
