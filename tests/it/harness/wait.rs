//! Waiting for a state with a bound, and ports that nobody uses.
//!
//! Tests sleep only inside the harness (here, and for processes in `command` and `leftovers`), between two looks at the state waited for.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The longest that any test waits for one state: generous, since CI machines are slow and busy. Nothing asserts that something is *fast*.
pub const BOUND: Duration = Duration::from_secs(90);
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// Looks until `look` gives a value; panics with `what` and the last complaint when it does not within [`BOUND`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(complaint) if start.elapsed() > BOUND => panic!("waited {BOUND:?} for {what}; last seen: {complaint}"),
            Err(_) => std::thread::sleep(BETWEEN_LOOKS),
        }
    }
}

/// Looks for a while whether `holds` stays true: for what must *not* happen. Panics with what it saw.
pub fn stays(what: &str, period: Duration, mut holds: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while start.elapsed() < period {
        if let Err(complaint) = holds() {
            panic!("{what}: {complaint}");
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// The value that `look` gives once it has been the same for `period`; panics with `what` when it does not settle within [`BOUND`].
pub fn settled<T: PartialEq + std::fmt::Debug>(what: &str, period: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut last = (None, Instant::now());
    until(what, || {
        let now = look();
        if now != last.0 {
            last = (now, Instant::now());
        }
        match last.0.take_if(|_| last.1.elapsed() >= period) {
            Some(value) => Ok(value),
            None => Err(format!("{:?}", last.0)),
        }
    })
}

/// Below the kernel's ephemeral range, so that no outgoing connection takes one between the look and the use.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 100) as u16 * 100;
    start + NEXT.fetch_add(1, Ordering::Relaxed) % 1_000
}

/// A TCP port that nothing listens on.
pub fn free_tcp_port() -> u16 {
    std::iter::repeat_with(next_port).find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("some port is free")
}

/// A UDP port that nothing uses.
pub fn free_udp_port() -> u16 {
    std::iter::repeat_with(next_port).find(|port| UdpSocket::bind(("0.0.0.0", *port)).is_ok()).expect("some port is free")
}
