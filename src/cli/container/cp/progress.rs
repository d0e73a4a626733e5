//! How much was copied: on a terminal while it goes on, and in the end, as docker shows it.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::task::AbortOnDropHandle;

use crate::cli::{format::units, output};

/// How often it is looked at.
const PERIOD: Duration = Duration::from_millis(75);
/// docker shows three digits.
const DIGITS: usize = 3;

/// Bytes so far.
pub type Counter = Arc<AtomicU64>;

pub struct Progress {
    quiet: bool,
    bytes: Counter,
    shown: Option<AbortOnDropHandle<()>>,
}

fn size(bytes: u64) -> String {
    units::human_size_digits(bytes as f64, DIGITS)
}

/// A terminal that takes nothing hinders no copy.
fn show(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

impl Progress {
    pub fn start(quiet: bool, header: &'static str) -> Progress {
        let bytes = Counter::default();
        let shown = (!quiet && super::shows()).then(|| {
            // The place is remembered and the cursor hidden.
            show(&format!("\x1b[s\x1b[?25l\x1b[2K{header}{}", size(0)));
            let (bytes, mut last) = (Arc::clone(&bytes), 0);
            let column = header.len() + 1;
            AbortOnDropHandle::new(tokio::spawn(async move {
                let mut clock = tokio::time::interval(PERIOD);
                loop {
                    clock.tick().await;
                    let now = bytes.load(Ordering::Relaxed);
                    if now != last {
                        show(&format!("\x1b[{column}G\x1b[0K{}", size(now)));
                        last = now;
                    }
                }
            }))
        });
        Progress { quiet, bytes, shown }
    }

    pub fn counter(&self) -> Counter {
        Arc::clone(&self.bytes)
    }

    /// It is over; where it went, when it went.
    pub fn end(self, to: Option<&str>) {
        if self.shown.is_some() {
            drop(self.shown);
            show("\x1b[?25h\x1b[u\x1b[2K");
        }
        if let (false, Some(to)) = (self.quiet, to) {
            output::warn(&format!("Successfully copied {} to {to}", size(self.bytes.load(Ordering::Relaxed))));
        }
    }
}

/// Counts what is read or written through it.
pub struct Counted<T> {
    pub inner: T,
    pub bytes: Counter,
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
