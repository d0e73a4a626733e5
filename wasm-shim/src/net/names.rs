//! Which addresses we answered for which names: what a later connect to an address is judged by.
//!
//! Owns: the memory of one task. Invariants: only what our own look-up answered for a name that the list allows gets in; bounded, the
//! oldest goes first; what is older than [`KEEP`] does not count.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Pairs of name and address of one task: dozens of names with a dozen addresses each.
const MAX_PAIRS: usize = 1_024;
/// How long an answer counts: longer than any client keeps an address that it does not look up again, short enough that an address which
/// its owner gave back does not stay allowed.
const KEEP: Duration = Duration::from_secs(3_600);

struct Pair {
    name: String,
    address: IpAddr,
    at: Instant,
}

/// The memory.
#[derive(Default)]
pub struct Names(VecDeque<Pair>);

impl Names {
    pub fn remember(&mut self, name: &str, addresses: &[IpAddr], now: Instant) {
        for address in addresses.iter().map(IpAddr::to_canonical) {
            self.0.retain(|pair| pair.address != address || pair.name != name);
            self.0.push_back(Pair { name: name.to_owned(), address, at: now });
        }
        let excess = self.0.len().saturating_sub(MAX_PAIRS);
        drop(self.0.drain(..excess));
    }

    /// The names that this address was answered for.
    pub fn of(&self, address: IpAddr, now: Instant) -> Vec<String> {
        let address = address.to_canonical();
        let fresh = |pair: &&Pair| pair.address == address && now.duration_since(pair.at) < KEEP;
        self.0.iter().filter(fresh).map(|pair| pair.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_a_while_and_are_bounded() {
        let (mut names, start) = (Names::default(), Instant::now());
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        names.remember("a.example", &[ip(1), ip(2)], start);
        names.remember("b.example", &[ip(1)], start);
        assert_eq!(names.of(ip(1), start), ["a.example", "b.example"]);
        assert_eq!(names.of("::ffff:0.0.0.2".parse().unwrap(), start), ["a.example"]);
        let later = start + KEEP;
        assert!(names.of(ip(1), later).is_empty());
        names.remember("a.example", &[ip(1)], later);
        assert_eq!(names.of(ip(1), later), ["a.example"]);
        for n in 0..2_000 {
            names.remember("many.example", &[ip(1_000 + n)], later);
        }
        assert_eq!(names.0.len(), MAX_PAIRS);
        assert!(names.of(ip(1), later).is_empty() && !names.of(ip(2_999), later).is_empty());
    }
}
