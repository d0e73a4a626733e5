//! What a task uses, as cgroup v2 metrics.
//!
//! Owns: the shape. The numbers are the shim's own counters: its tasks share one process, so there is no cgroup of a task.

use crate::task::Task;
use containerd_shim_protos::{
    cgroups_v2::metrics::{CPUStat, MemoryStat, Metrics, PidsStat},
    protobuf::{Message, MessageField, well_known_types::any::Any},
};

/// containerd's name of the message.
const TYPE_URL: &str = "io.containerd.cgroups.v2.Metrics";

/// Its compiled code, mapped as long as the task is there: what a server without a request holds. Tasks of one program share it, and each shows it.
fn code(task: &Task) -> u64 {
    std::fs::metadata(&task.spec.compiled).map_or(0, |file| file.len())
}

/// The task's metrics now.
pub fn of(task: &Task) -> Result<Any, containerd_shim_protos::protobuf::Error> {
    let mut cpu = CPUStat::new();
    cpu.usage_usec = task.cpu.spent() / 1_000;
    cpu.user_usec = cpu.usage_usec;
    let mut memory = MemoryStat::new();
    memory.usage = task.memory.used();
    memory.file = code(task);
    // cgroup v2 says "max" for no limit, which containerd reports as the largest number.
    memory.usage_limit = task.memory.limit().unwrap_or(u64::MAX);
    let mut pids = PidsStat::new();
    pids.current = u64::from(task.is_started() && task.exit().is_none());
    let mut metrics = Metrics::new();
    metrics.cpu = MessageField::some(cpu);
    metrics.memory = MessageField::some(memory);
    metrics.pids = MessageField::some(pids);
    let mut any = Any::new();
    any.type_url = TYPE_URL.to_owned();
    any.value = metrics.write_to_bytes()?;
    Ok(any)
}
