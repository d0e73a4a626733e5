//! How many tasks this machine holds: maps of a shim, descriptors of the daemon, memory.
//!
//! Owns: the arithmetic. The result is part of the node's description, and the scheduler refuses more ("insufficient resources on 1 node")
//! before a task is made that would fail. Invariant: at least one task, at most what the smallest of the three allows. Never: raises a limit.

use rustix::process::{Resource, getrlimit};
use wsw_api::shim::DEFAULT_CAPACITY;

/// The kernel's default of `vm.max_map_count`, where it cannot be read.
const DEFAULT_MAPS: u64 = 65_530;
/// Maps that a shim has without tasks: its pool (1,024 slots of 2) and program files, stacks, heaps.
const MAPS_OF_SHIM: u64 = 2 * 1_024 + 1_500;
/// Maps of a running command, measured.
const MAPS_OF_TASK: u64 = 6;
/// Descriptors of the daemon for one shim: its sockets, its pipe, and as many while it is replaced.
const DESCRIPTORS_OF_SHIM: u64 = 8;
/// Descriptors of the daemon for everything else: clients, published ports, connections on their way to a task.
const DESCRIPTORS_OF_DAEMON: u64 = 512;
/// Memory of a sleeping command with its part of the daemon (58 KiB, `benches/RESULTS.md`).
const MEMORY_OF_TASK: u64 = 64 << 10;

/// What the kernel allows a process here.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub maps: u64,
    pub descriptors: u64,
}

impl Limits {
    pub fn read() -> Self {
        let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
        Self { maps: maps.unwrap_or(DEFAULT_MAPS), descriptors: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX) }
    }
}

/// Tasks of one shim.
pub fn of_shim(maps: u64) -> u32 {
    let fit = maps.saturating_sub(MAPS_OF_SHIM) / MAPS_OF_TASK;
    u32::try_from(fit).unwrap_or(u32::MAX).clamp(1, DEFAULT_CAPACITY)
}

/// Tasks of the node: in three quarters of the memory, and in as many shims as the daemon can talk to.
pub fn of_node(limits: &Limits, memory_bytes: u64) -> u64 {
    let shims = limits.descriptors.saturating_sub(DESCRIPTORS_OF_DAEMON) / DESCRIPTORS_OF_SHIM;
    let in_shims = shims.saturating_mul(u64::from(of_shim(limits.maps)));
    let in_memory = match memory_bytes {
        0 => u64::MAX,
        bytes => bytes / 4 * 3 / MEMORY_OF_TASK,
    };
    in_shims.min(in_memory).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_decides() {
        assert_eq!(of_shim(DEFAULT_MAPS), DEFAULT_CAPACITY);
        assert_eq!(of_shim(9_548), 1_000);
        assert_eq!(of_shim(100), 1);
        let usual = Limits { maps: DEFAULT_MAPS, descriptors: 1 << 20 };
        assert_eq!(of_node(&usual, 1 << 30), 12_288);
        assert_eq!(of_node(&Limits { descriptors: 512 + 16, ..usual }, 1 << 40), 10_000);
        assert_eq!(of_node(&Limits { maps: 100, descriptors: 520 }, 1 << 40), 1);
        assert_eq!(of_node(&Limits { maps: 100, descriptors: 0 }, 1), 1);
    }
}
