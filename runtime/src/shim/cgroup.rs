//! A control group per shim: what the kernel bounds when the shim's own counting fails.
//!
//! ```text
//! version 2   <mount>/wsw/<id>/shim-<n>                    where its memory controller is
//! version 1   <memory mount>/<the daemon's>/wsw/<id>/…      and the same below the pids mount
//! ```
//! Owns: finding them (once; a later daemon reads where they were), limits, OOM kills, removal, and room for them in a container that the daemon runs in. Version 2's lie at the root, since below
//! a group with processes there can be none, and systemd's own must stay attachable for the daemon's next start.
//! Invariants: no limit lies below what is used. A hierarchy that cannot be written is left out: less isolation, no failure.

use crate::files;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a shim itself needs beside its guests: the pool keeps 1,024 used slots of 0.6 MiB warm, then queues, code, heap.
const OVERHEAD: u64 = 1 << 30;
/// What the host holds for one task: buffers, streams, its stack.
const OVERHEAD_PER_TASK: u64 = 2 << 20;
/// Threads of a shim: workers, and two bounded sets that block. No guest can make one.
const MAX_THREADS: u32 = 1_024;
/// Of the processes in a container that the daemon runs in.
const OWN: &str = "init";
/// What is moved may make others meanwhile.
const ROUNDS: usize = 8;
/// Where a later daemon finds them, in the folder of the shims' records.
const MEMORY: &str = "cgroups";

/// What the limits of a shim's tasks add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Budget {
    tasks: u32,
    /// Tasks without a limit.
    unlimited: u32,
    limited: u64,
}

impl Budget {
    pub(super) fn add(&mut self, limit: Option<u64>) {
        self.tasks += 1;
        match limit {
            Some(limit) => self.limited = self.limited.saturating_add(limit),
            None => self.unlimited += 1,
        }
    }

    pub(super) fn take_out(&mut self, limit: Option<u64>) {
        self.tasks = self.tasks.saturating_sub(1);
        match limit {
            Some(limit) => self.limited = self.limited.saturating_sub(limit),
            None => self.unlimited = self.unlimited.saturating_sub(1),
        }
    }

    /// The limit of the shim; none while any task has none.
    fn limit(self) -> Option<u64> {
        (self.unlimited == 0 && self.tasks > 0).then(|| self.limited.saturating_add(OVERHEAD).saturating_add(u64::from(self.tasks) * OVERHEAD_PER_TASK))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unified,
    Memory,
    Pids,
}

impl Kind {
    const ALL: [(Self, &str); 3] = [(Self::Unified, "unified"), (Self::Memory, "memory"), (Self::Pids, "pids")];

    const fn has_memory(self) -> bool {
        !matches!(self, Self::Pids)
    }
}

/// The groups of one data root.
#[derive(Debug)]
pub(crate) struct Cgroups {
    bases: Vec<(Kind, PathBuf)>,
    wanted: Arc<Mutex<Wanted>>,
}

/// Limits to be written; the newest of each shim.
#[derive(Debug, Default)]
struct Wanted {
    limits: BTreeMap<PathBuf, (Cgroup, Budget)>,
    /// Shims that were last given none.
    unlimited: BTreeSet<u32>,
    running: bool,
}

impl Cgroups {
    /// Finds or makes them; `id` tells data roots of one machine apart. None where none can be had.
    pub(crate) fn open(folder: &Path, id: &str) -> Option<Self> {
        let memory = folder.join(MEMORY);
        let known = fs::read_to_string(&memory).map(|text| read(&text)).unwrap_or_default();
        let kept = !known.is_empty() && known.iter().all(|(_, path)| path.is_dir());
        let bases = if kept { known } else { make_bases(id) };
        if bases.is_empty() {
            return None;
        }
        if !kept && let Err(error) = fs::write(&memory, write(&bases)) {
            tracing::warn!(path = %memory.display(), %error, "where the control groups are is not remembered");
        }
        Some(Self { bases, wanted: Arc::default() })
    }

    pub(crate) fn has_memory(&self) -> bool {
        self.bases.iter().any(|(kind, _)| kind.has_memory())
    }

    /// The group of a shim, made or not.
    pub(super) fn at(&self, number: u32) -> Cgroup {
        Cgroup { folders: self.bases.iter().map(|(kind, path)| (*kind, path.join(format!("shim-{number}")))).collect() }
    }

    /// Sees to it that the limit fits the tasks, soon. Ten thousand tasks that come at once cost a few writes.
    pub(super) fn adjust(&self, number: u32, budget: Budget) {
        let unlimited = budget.limit().is_none();
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        // Most tasks have no limit, and then one more changes nothing.
        if unlimited && wanted.unlimited.contains(&number) {
            return;
        }
        let group = self.at(number);
        let Some((_, key)) = group.folders.first().cloned() else { return };
        let start = {
            if unlimited {
                wanted.unlimited.insert(number)
            } else {
                wanted.unlimited.remove(&number)
            };
            wanted.limits.insert(key, (group, budget));
            !std::mem::replace(&mut wanted.running, true)
        };
        drop(wanted);
        if start {
            let wanted = self.wanted.clone();
            tokio::task::spawn_blocking(move || write_limits(&wanted));
        }
    }

    /// Removes the groups of shims that are gone.
    pub(super) fn sweep(&self, lives: impl Fn(u32) -> bool) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).unlimited.retain(|number| lives(*number));
        for (_, base) in &self.bases {
            for entry in fs::read_dir(base).into_iter().flatten().flatten() {
                let number = entry.file_name().to_str().and_then(|name| name.strip_prefix("shim-")?.parse().ok());
                if number.is_some_and(|number| !lives(number)) {
                    remove(&entry.path());
                }
            }
        }
    }

    /// True for a folder that all of them lie in.
    pub(crate) fn is_base(&self, folder: &Path) -> bool {
        self.bases.iter().any(|(_, base)| base == folder)
    }

    /// At the daemon's end: empty ones go.
    pub(crate) fn close(&self) {
        for (_, base) in &self.bases {
            let _ = fs::remove_dir(base);
        }
    }
}

fn write_limits(wanted: &Mutex<Wanted>) {
    loop {
        let batch = {
            let mut wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.running = !wanted.limits.is_empty();
            std::mem::take(&mut wanted.limits)
        };
        if batch.is_empty() {
            return;
        }
        for (group, budget) in batch.into_values() {
            group.set_memory(budget.limit());
        }
    }
}

/// One shim's group in each hierarchy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cgroup {
    folders: Vec<(Kind, PathBuf)>,
}

impl Cgroup {
    /// Makes it and puts the process into it, with all that it starts.
    pub(super) fn enter(&self, pid: u32) {
        for (kind, folder) in &self.folders {
            let made = fs::create_dir(folder).or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) });
            let bound = || if *kind == Kind::Memory { Ok(()) } else { fs::write(folder.join("pids.max"), MAX_THREADS.to_string()) };
            // Into the group even where the bound is not to be had.
            let bounded = bound();
            let entered = made.and_then(|()| fs::write(folder.join("cgroup.procs"), pid.to_string()));
            if let Err(error) = entered.and(bounded) {
                tracing::warn!(path = %folder.display(), %error, "a Wasm shim runs without this control group");
            }
        }
    }

    fn memory(&self) -> impl Iterator<Item = (Kind, &Path)> {
        self.folders.iter().filter(|(kind, _)| kind.has_memory()).map(|(kind, path)| (*kind, path.as_path()))
    }

    fn set_memory(&self, limit: Option<u64>) {
        for (kind, folder) in self.memory() {
            let (file, usage, none) = match kind {
                Kind::Unified => ("memory.max", "memory.current", "max"),
                _ => ("memory.limit_in_bytes", "memory.usage_in_bytes", "-1"),
            };
            let used = number(&folder.join(usage)).unwrap_or(0);
            // Below what is used the kernel would kill. The next task that comes or goes asks again.
            if limit.is_some_and(|limit| limit < used) {
                continue;
            }
            if let Err(error) = fs::write(folder.join(file), limit.map_or_else(|| none.to_owned(), |limit| limit.to_string())) {
                tracing::debug!(path = %folder.display(), %error, "memory limit not set");
            }
        }
    }

    /// What to say of an end that the kernel's memory limit caused.
    pub(super) fn killed(&self) -> Option<String> {
        self.memory().find_map(|(kind, folder)| {
            let (events, limit) = match kind {
                Kind::Unified => ("memory.events", "memory.max"),
                _ => ("memory.oom_control", "memory.limit_in_bytes"),
            };
            let text = fs::read_to_string(folder.join(events)).ok()?;
            let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())?;
            let limit = fs::read_to_string(folder.join(limit)).unwrap_or_default();
            (kills > 0).then(|| format!("out of memory: its control group's limit is {} bytes", limit.trim()))
        })
    }

    /// Removes it; the process is gone.
    pub(super) fn remove(&self) {
        self.folders.iter().for_each(|(_, folder)| remove(folder));
    }
}

fn remove(folder: &Path) {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::debug!(path = %folder.display(), %error, "control group not removed"),
        _ => {}
    }
}

fn number(path: &Path) -> Option<u64> {
    files::read_bounded(path, 4_096).ok().and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok())
}

fn read(text: &str) -> Vec<(Kind, PathBuf)> {
    let line = |line: &str| {
        let (word, path) = line.split_once(' ')?;
        Kind::ALL.into_iter().find(|(_, name)| *name == word).map(|(kind, _)| (kind, PathBuf::from(path)))
    };
    text.lines().filter_map(line).collect()
}

fn write(bases: &[(Kind, PathBuf)]) -> String {
    let word = |kind: Kind| Kind::ALL.into_iter().find(|(other, _)| *other == kind).map_or("", |(_, name)| name);
    bases.iter().map(|(kind, path)| format!("{} {}\n", word(*kind), path.display())).collect()
}

fn make_bases(id: &str) -> Vec<(Kind, PathBuf)> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let found = locate(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"), |mount| text(&mount.join("cgroup.controllers").to_string_lossy()));
    let usable = |(kind, parent): &(Kind, PathBuf)| match make_base(*kind, parent, id) {
        Ok(path) => Some((*kind, path)),
        Err(error) => {
            tracing::warn!(path = %parent.display(), %error, "no control groups for Wasm shims here");
            None
        }
    };
    found.iter().filter_map(usable).collect()
}

fn make_base(kind: Kind, parent: &Path, id: &str) -> io::Result<PathBuf> {
    let (all, own) = (parent.join("wsw"), parent.join("wsw").join(id));
    fs::create_dir_all(&own)?;
    if kind == Kind::Unified {
        give(parent).or_else(|error| if error.kind() == io::ErrorKind::ResourceBusy { make_room(parent).and_then(|()| give(parent)) } else { Err(error) })?;
        give(&all)?;
        give(&own)?;
    }
    Ok(own)
}

/// Gives the groups below one of version 2 what bounds them.
fn give(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.subtree_control"), "+memory +pids")
}

/// A daemon in a container is in the topmost group that it sees, with what started it, and a group with processes gives nothing to those below it: they move to one of their own, as
/// systemd and Docker in Docker do it. The machine's own topmost group has no such rule.
fn make_room(top: &Path) -> io::Result<()> {
    let own = top.join(OWN);
    fs::create_dir_all(&own)?;
    for _ in 0..ROUNDS {
        let text = fs::read_to_string(top.join("cgroup.procs"))?;
        // 0 is one that is not in our pid namespace, and to write it would move ourselves.
        let found: Vec<&str> = text.lines().filter(|pid| *pid != "0").collect();
        if found.is_empty() {
            break;
        }
        // One that has ended meanwhile is not there to be moved.
        found.into_iter().for_each(|pid| drop(fs::write(own.join("cgroup.procs"), pid)));
    }
    tracing::info!(path = %own.display(), "the processes of this control group have moved to one of their own, so that others can be below it");
    Ok(())
}

/// Where groups belong, by the tables of mounts and of this process's groups.
fn locate(mounts: &str, own: &str, controllers: impl Fn(&Path) -> String) -> Vec<(Kind, PathBuf)> {
    let mut old = Vec::new();
    for line in mounts.lines() {
        let Some((fields, tail)) = line.split_once(" - ") else { continue };
        let mut fields = fields.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        let (filesystem, options) = (tail.split(' ').next().unwrap_or_default(), tail.rsplit(' ').next().unwrap_or_default());
        let point = Path::new(point);
        if filesystem == "cgroup2" && controllers(point).split_whitespace().any(|name| name == "memory") {
            return vec![(Kind::Unified, point.to_owned())];
        }
        for (kind, name) in [(Kind::Memory, "memory"), (Kind::Pids, "pids")] {
            if filesystem == "cgroup" && options.split(',').any(|option| option == name) && !old.iter().any(|(other, _)| *other == kind) {
                old.push((kind, point.join(below(root, own, name))));
            }
        }
    }
    old
}

/// This process's group of a controller, seen from a mount that shows `root`.
fn below(root: &str, own: &str, controller: &str) -> PathBuf {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    let inside = path.and_then(|path| Path::new(path).strip_prefix(root).ok());
    inside.map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_bounded_only_while_all_its_tasks_are() {
        let mut budget = Budget::default();
        assert_eq!(budget.limit(), None);
        budget.add(Some(100));
        budget.add(Some(50));
        assert_eq!(budget.limit(), Some(150 + OVERHEAD + 2 * OVERHEAD_PER_TASK));
        budget.add(None);
        assert_eq!(budget.limit(), None);
        budget.take_out(None);
        budget.take_out(Some(100));
        assert_eq!(budget.limit(), Some(50 + OVERHEAD + OVERHEAD_PER_TASK));
    }

    #[test]
    fn hierarchies_are_found_in_the_tables() {
        let old = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 29 0:27 /box /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                   32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/box/a\n8:pids:/box/b\n0::/\n";
        let found = locate(old, own, |_| "hugetlb".into());
        assert_eq!(found, [(Kind::Memory, "/sys/fs/cgroup/memory/box/a".into()), (Kind::Pids, "/sys/fs/cgroup/pids/b".into())]);
        let new = "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(locate(new, "0::/system.slice/wsw.service\n", |_| "cpu memory pids".into()), [(Kind::Unified, "/sys/fs/cgroup".into())]);
        assert_eq!(locate("", own, |_| String::new()), []);
        assert_eq!(read(&write(&found)), found);
    }
}
