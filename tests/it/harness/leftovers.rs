//! What a killed node leaves behind: shims that go on by design, and mounts. Found by the node's own folder, ended by pid.

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::time::Duration;

/// Processes whose command line names something below `folder`, by pid.
pub fn processes_below(folder: &Path) -> Vec<i32> {
    let wanted = folder.to_string_lossy().into_owned();
    let mut pids: Vec<i32> = std::fs::read_dir("/proc")
        .expect("procfs is there")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| *pid != std::process::id() as i32)
        .filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted)))
        .collect();
    pids.sort_unstable();
    pids
}

/// The Wasm shims among them.
pub fn shims_below(folder: &Path) -> Vec<i32> {
    let is_shim = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("wasm-shim"));
    processes_below(folder).into_iter().filter(is_shim).collect()
}

/// Kills all of them, also those that they start meanwhile.
pub fn kill_below(folder: &Path) {
    for _ in 0..200 {
        let pids = processes_below(folder);
        if pids.is_empty() {
            return;
        }
        pids.into_iter().for_each(|pid| kill(pid, Signal::KILL));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to one process; one that is gone already is no matter.
pub fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).expect("a pid is positive"), signal);
}

/// Removes the control groups that a node noted below its exec root; its processes are gone.
pub fn remove_groups(exec_root: &Path) {
    let note = std::fs::read_to_string(exec_root.join("wasm/cgroups")).unwrap_or_default();
    for base in note.lines().filter_map(|line| line.split_once(' ')).map(|(_, path)| Path::new(path)) {
        let inner = std::fs::read_dir(base).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        inner.for_each(|entry| remove_group(&entry.path()));
        remove_group(base);
    }
}

/// A group can be removed once the kernel is done with the processes that were killed in it.
pub fn remove_group(group: &Path) {
    for _ in 0..200 {
        match std::fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
}

/// Unmounts everything below `folder`, the innermost first.
pub fn unmount_below(folder: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(folder)).collect();
    points.sort_unstable();
    for point in points.into_iter().rev() {
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
    }
}
