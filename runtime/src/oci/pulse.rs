//! Whether a shim still answers, and the end of one that does not.
//!
//! Owns: the questions and the verdict. A shim is asked two things: something that it does not know, which its process refuses by itself, and `Connect`, which takes the lock that
//! creating a container holds. No answer to the first means that the process stands still (stopped, or held by the kernel), and shows soon; none to the second that its calls
//! have locked each other out, and may be a slow disk for a while. Invariants: one answer that comes late is no verdict (the daemon itself may have been stopped); a shim that
//! is given up is killed first, then all its calls end as those of a dead one. Never: decides what that means for a task.

use super::client::Shim;
use super::process::Process;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(5);
/// A process that runs answers within a millisecond, on a busy machine within a second.
const ANSWER: Duration = Duration::from_secs(4);
/// `Connect` may wait for a container that is being created.
const TURN: Duration = Duration::from_secs(20);
/// So many in a row without an answer.
const MISSES: u32 = 3;
/// The same for calls that wait for each other.
const TURNS_MISSED: u32 = 2;

/// Asks until this is dropped, or the shim is given up.
pub(super) fn watch(shim: Arc<Shim>, process: Option<Process>, group: String) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let verdict = tokio::select! {
            verdict = stands_still(&shim, EVERY) => verdict,
            verdict = locked_out(&shim) => verdict,
        };
        tracing::error!(group, pid = shim.pid(), verdict, "a shim is given up");
        give_up(&shim, process, verdict).await;
    }))
}

/// Answers when the process does not, and never while it does.
pub(super) async fn stands_still(shim: &Shim, pause: Duration) -> String {
    let mut misses = 0;
    tokio::time::sleep(pause).await;
    loop {
        misses = if shim.lives(ANSWER).await { 0 } else { misses + 1 };
        shim.doubt(misses > 0);
        match misses {
            0 => tokio::time::sleep(EVERY).await,
            MISSES => return format!("it did not answer for {} s", ANSWER.as_secs() * u64::from(MISSES)),
            _ => {}
        }
    }
}

async fn locked_out(shim: &Shim) -> String {
    let mut misses = 0;
    loop {
        tokio::time::sleep(EVERY).await;
        misses = if shim.connects(TURN).await { 0 } else { misses + 1 };
        if misses == TURNS_MISSED {
            return format!("its calls stood still for {} s", TURN.as_secs() * u64::from(TURNS_MISSED));
        }
    }
}

/// Kills it and ends its calls.
pub(super) async fn give_up(shim: &Shim, process: Option<Process>, verdict: String) {
    shim.judge(verdict);
    let gone = match process {
        Some(process) => process.end().await,
        None => false,
    };
    if !gone {
        tracing::error!(pid = shim.pid(), "a shim that does not answer was not ended");
    }
    shim.cut();
}
