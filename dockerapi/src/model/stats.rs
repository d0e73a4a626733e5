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
        networks: BTreeMap<String, Empty> = "networks",
    }
    /// Running instances.
    Pids { current: u64 = "current" }
    /// Nothing: a guest reads and writes no device.
    Block { bytes: Vec<Empty> = "io_service_bytes_recursive", served: Vec<Empty> = "io_serviced_recursive" }
    /// Processor time, beside that of the machine.
    Cpu { usage: CpuUsage = "cpu_usage", system: u64 = "system_cpu_usage", online: u64 = "online_cpus", throttling: Throttling = "throttling_data" }
    /// In nanoseconds.
    CpuUsage { total: u64 = "total_usage", kernel: u64 = "usage_in_kernelmode", user: u64 = "usage_in_usermode" }
    /// How often it was held back.
    Throttling { periods: u64 = "periods", throttled: u64 = "throttled_periods", time: u64 = "throttled_time" }
    /// In bytes; the limit is the machine's memory where the task has none.
    Memory { usage: u64 = "usage", stats: BTreeMap<String, u64> = "stats", limit: u64 = "limit" }
}
