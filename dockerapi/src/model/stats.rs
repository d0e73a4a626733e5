//! `container.StatsResponse`: what `docker stats` computes with.

use super::{Empty, answers};
use std::collections::BTreeMap;

answers! {
    /// One reading and the one before it.
    Stats {
        name: String = "name",
        id: String = "id",
        read: String = "read",
        preread: String = "preread",
        pids: Pids = "pids_stats",
        block: Block = "blkio_stats",
        processes: u32 = "num_procs",
        storage: Empty = "storage_stats",
        cpu: Cpu = "cpu_stats",
        precpu: Cpu = "precpu_stats",
        memory: Memory = "memory_stats",
        networks: BTreeMap<&'static str, Network> = "networks",
    }
    /// Running instances.
    Pids { current: u64 = "current" }
    /// Nothing for a guest: it reads and writes no device.
    Block { bytes: Vec<BlockEntry> = "io_service_bytes_recursive", served: Vec<BlockEntry> = "io_serviced_recursive" }
    /// One way.
    BlockEntry { major: u64 = "major", minor: u64 = "minor", op: &'static str = "op", value: u64 = "value" }
    /// One link.
    Network {
        rx_bytes: u64 = "rx_bytes",
        rx_packets: u64 = "rx_packets",
        rx_errors: u64 = "rx_errors",
        rx_dropped: u64 = "rx_dropped",
        tx_bytes: u64 = "tx_bytes",
        tx_packets: u64 = "tx_packets",
        tx_errors: u64 = "tx_errors",
        tx_dropped: u64 = "tx_dropped",
    }
    /// Processor time, beside that of the machine.
    Cpu { usage: CpuUsage = "cpu_usage", system: u64 = "system_cpu_usage", online: u64 = "online_cpus", throttling: Throttling = "throttling_data" }
    /// In nanoseconds.
    CpuUsage { total: u64 = "total_usage", kernel: u64 = "usage_in_kernelmode", user: u64 = "usage_in_usermode" }
    /// How often it was held back.
    Throttling { periods: u64 = "periods", throttled: u64 = "throttled_periods", time: u64 = "throttled_time" }
    /// In bytes; the limit is the machine's memory where the task has none.
    Memory { usage: u64 = "usage", stats: BTreeMap<String, u64> = "stats", limit: u64 = "limit" }
}
