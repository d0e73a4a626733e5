//! What went over a container's link, from the kernel's own table (`/proc/<pid>/net/dev`).
//!
//! Owns: reading that. It is a hint for `docker stats`: a container that is just ending has none. Never: decides anything.

use super::network::INSIDE;
use crate::files;
use std::path::Path;
use wsw_api::usage::{Counts, Traffic};

/// Two lines, and one for each link.
const MAX_TABLE: u64 = 64 << 10;

pub(super) fn of(pid: u32) -> Option<Traffic> {
    // The file is root's: nobody else can put a link in its place.
    let table = files::read_bounded(Path::new(&format!("/proc/{pid}/net/dev")), MAX_TABLE).ok()?;
    read(&String::from_utf8_lossy(&table), INSIDE)
}

fn read(table: &str, link: &str) -> Option<Traffic> {
    let (_, columns) = table.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == link)?;
    let numbers: Vec<u64> = columns.split_whitespace().map_while(|column| column.parse().ok()).collect();
    let counts = |first: usize| {
        let [bytes, packets, errors, dropped] = numbers.get(first..first + 4)?.try_into().ok()?;
        Some(Counts { bytes, packets, errors, dropped })
    };
    Some(Traffic { received: counts(0)?, sent: counts(8)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_table_is_read() {
        let table = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
                         lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n\
                       eth0:    1532      18    1    2    0     0          0         0     1026      13    3    4    0     0       0          0\n";
        let found = read(table, "eth0").unwrap();
        assert_eq!(found.received, Counts { bytes: 1_532, packets: 18, errors: 1, dropped: 2 });
        assert_eq!(found.sent, Counts { bytes: 1_026, packets: 13, errors: 3, dropped: 4 });
        assert_eq!((read(table, "eth1"), read("eth0: 1 2", "eth0")), (None, None));
    }
}
