//! What happened, in order: a hash of all events, and their lines when somebody wants to read them.
//!
//! Invariant: two runs of one seed have the same hash. Never: holds more than it was asked to.

use std::fmt;
use std::sync::Mutex;
use tokio::time::Instant;

/// Lines that are kept for the report of a failure.
const KEPT: usize = 400;

/// The events of one run.
pub struct Trace {
    begun: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    hash: u64,
    events: u64,
    loud: bool,
    lines: Vec<String>,
}

impl Trace {
    /// Begins now; a loud one prints each event.
    pub fn begin(loud: bool) -> Self {
        Self { begun: Instant::now(), inner: Mutex::new(Inner { hash: 0xcbf2_9ce4_8422_2325, events: 0, loud, lines: Vec::new() }) }
    }

    /// Adds an event.
    pub fn add(&self, event: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {event}", self.begun.elapsed().as_secs_f64());
        let mut inner = self.inner.lock().unwrap();
        inner.hash = hash(inner.hash, line.as_bytes());
        inner.events += 1;
        if inner.loud {
            println!("{line}");
        }
        if inner.lines.len() == 2 * KEPT {
            inner.lines.drain(..KEPT);
        }
        inner.lines.push(line);
    }

    /// Hash and number of all events so far.
    pub fn sum(&self) -> (u64, u64) {
        let inner = self.inner.lock().unwrap();
        (inner.hash, inner.events)
    }

    /// The last events.
    pub fn tail(&self) -> String {
        let inner = self.inner.lock().unwrap();
        inner.lines[inner.lines.len().saturating_sub(KEPT)..].join("\n")
    }
}

/// FNV-1a.
pub fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Adds an event: `event!(trace, "…", …)`.
macro_rules! event {
    ($trace:expr, $($what:tt)*) => { $trace.add(format_args!($($what)*)) };
}
pub(crate) use event;
