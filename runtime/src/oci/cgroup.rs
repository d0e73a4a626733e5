//! What the kernel tells of a container's control group, where the shim does not.
//!
//! Owns: reading whether it was killed for memory, and removing groups that a crash left, and the parents of all once there is none. Never: sets a limit (runc does).

use super::tools::Tools;
use std::fs;
use std::path::{Path, PathBuf};
use wsw_api::TaskId;

const ROOT: &str = "/sys/fs/cgroup";

/// True when a process of the task was killed because the task's memory was used up.
pub(super) fn killed_for_memory(tools: &Tools, task: TaskId) -> bool {
    let below = format!("{}/{task}", tools.cgroups);
    let file = if tools.cgroup2 { format!("{ROOT}{below}/memory.events") } else { format!("{ROOT}/memory{below}/memory.oom_control") };
    oom_kills(&fs::read_to_string(file).unwrap_or_default()) > 0
}

/// `oom_kill N`, in both versions.
fn oom_kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

/// Removes what is left of groups whose task is not kept; such a group has no process any more. Then their parents, unless something is below them.
pub(super) fn sweep(tools: &Tools, keeps: impl Fn(&str) -> bool, is_other: impl Fn(&Path) -> bool) {
    for base in bases(tools) {
        for entry in fs::read_dir(&base).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if entry.path().is_dir() && name.to_str().is_some_and(|name| !keeps(name)) {
                remove(&entry.path());
            }
        }
        let _ = fs::remove_dir(&base);
        // Wasm's groups may lie beside ours, and their parent stays.
        if let Some(parent) = base.parent().filter(|parent| !is_other(parent)) {
            let _ = fs::remove_dir(parent);
        }
    }
}

fn bases(tools: &Tools) -> Vec<PathBuf> {
    let below = tools.cgroups.trim_start_matches('/');
    if tools.cgroup2 {
        return vec![Path::new(ROOT).join(below)];
    }
    let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path().join(below));
    hierarchies.filter(|path| path.is_dir()).collect()
}

fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(super::oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(super::oom_kills("low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(super::oom_kills(""), 0);
    }
}
