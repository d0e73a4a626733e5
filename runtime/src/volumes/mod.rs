//! The node's volumes: folders that outlive the tasks which use them (Docker's `local` driver).
//!
//! ```text
//! <data root>/volumes/<name>/_data         what tasks see         volume.json   labels, options, when it was made
//! ```
//!
//! Owns: which volumes there are, who uses them, their options. Invariants: a folder with a `volume.json` is a whole volume (it is made
//! under another name and renamed; removal renames first); a volume that a task uses is never removed; nothing in `_data` is touched but by removal.
//! Never: mounts anything into a task (`mounts`), decides who may use a volume.

mod disk;
mod options;

mod watch;

pub use options::Kind;
pub use watch::{Change, Watch};

use crate::error::{Error, Result};
use crate::files;
use crate::mounts::kernel;
use disk::Meta;
use rustix::fs::Mode;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use wsw_api::TaskId;
use wsw_api::mount::{LOCAL_DRIVER, volume_name};
use wsw_api::volume::ANONYMOUS;
pub use wsw_api::volume::{NewVolume, Volume};

/// The task whose own a volume is: it goes with it.
const OWNER: &str = "wsw.task";
/// Volumes of one node: a bound on what lists and scans hold.
const MAX_VOLUMES: usize = 100_000;

#[derive(Default)]
struct State {
    volumes: BTreeMap<String, Meta>,
    /// By volume, and by task, which of them are together.
    users: BTreeMap<String, BTreeSet<TaskId>>,
    used: BTreeMap<TaskId, BTreeMap<String, Targets>>,
}

/// Where a task sees a volume; empty where an earlier daemon knew it.
type Targets = BTreeSet<String>;

/// All volumes of a node.
#[derive(Clone)]
pub struct Volumes {
    folder: Arc<PathBuf>,
    /// Held over file work of single volumes (a few system calls), so that use and removal cannot cross.
    state: Arc<Mutex<State>>,
    watch: Arc<OnceLock<Watch>>,
}

impl Volumes {
    /// Reads what there is; finishes removals and forgets makings that were cut off.
    pub(crate) fn open(folder: PathBuf, mode: u32) -> Result<Self> {
        files::folder(&folder, mode)?;
        let found = disk::scan(&folder).map_err(|e| Error::io(format_args!("read {}", folder.display()), &e))?;
        let state = State { volumes: found.into_iter().collect(), ..State::default() };
        Ok(Self { folder: Arc::new(folder), state: Arc::new(Mutex::new(state)), watch: Arc::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `watch` of every change from now on; the first who asks is told.
    pub fn watch(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    /// Below the lock, so that changes of one volume are told in their order.
    fn tell(&self, name: &str, change: Change<'_>) {
        if let Some(watch) = self.watch.get() {
            watch(name, change);
        }
    }

    fn shown(&self, state: &State, name: &str, meta: &Meta) -> Volume {
        Volume {
            name: name.to_owned(),
            created: meta.created,
            labels: meta.labels.clone(),
            options: meta.options.clone(),
            mountpoint: self.data(name),
            users: state.users.get(name).into_iter().flatten().copied().collect(),
        }
    }

    /// The folder that tasks see.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.folder.join(name).join(disk::DATA)
    }

    /// By name.
    pub fn list(&self) -> Vec<Volume> {
        let state = self.lock();
        state.volumes.iter().map(|(name, meta)| self.shown(&state, name, meta)).collect()
    }

    /// Makes a volume; one that is there already is answered as it is, as Docker does.
    pub async fn create(&self, mut new: NewVolume) -> Result<Volume> {
        let this = self.clone();
        files::blocking(move || {
            if new.name.is_empty() {
                new.name = made_up_name()?;
                new.labels.insert(ANONYMOUS.into(), String::new());
            }
            this.make(new, None)
        })
        .await?
    }

    /// The volume that a task uses from now on; made when it is missing. Without a name it is the task's own, at `target`.
    pub(crate) fn take(&self, task: TaskId, (target, read_only): (&str, bool), mut new: NewVolume) -> Result<(Volume, Kind)> {
        if new.name.is_empty() {
            new.name = own_name(task, target);
            new.labels.insert(ANONYMOUS.into(), String::new());
            new.labels.insert(OWNER.into(), task.to_string());
        }
        let volume = self.make(new, Some((task, target, read_only)))?;
        let kind = Kind::read(&volume.options).map_err(|why| Error::Invalid(format!("volume {}: {why}", volume.name)))?;
        if let Kind::Tmpfs { size, mode, uid, gid, files } = kind {
            let _turn = self.lock();
            if !is_mounted(&volume.mountpoint) {
                let made = kernel::tmpfs(&kernel::Tmpfs { size, mode, uid, gid, files }, false);
                let done = made.and_then(|tree| kernel::attach(tree.as_fd(), &volume.mountpoint));
                done.map_err(|e| Error::Invalid(format!("volume {}: cannot mount a tmpfs: {e}", volume.name)))?;
            }
        }
        Ok((volume, kind))
    }

    fn make(&self, new: NewVolume, user: Option<(TaskId, &str, bool)>) -> Result<Volume> {
        let NewVolume { name, driver, labels, options } = new;
        volume_name(&name).map_err(|why| Error::Invalid(format!("create {name}: {why}")))?;
        if !driver.is_empty() && driver != LOCAL_DRIVER {
            return Err(Error::NoDriver(format!("create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found")));
        }
        let mut state = self.lock();
        let meta = match state.volumes.get(&name) {
            Some(meta) => meta.clone(),
            None => {
                Kind::read(&options).map_err(|why| Error::Invalid(format!("create {name}: {why}")))?;
                if state.volumes.len() >= MAX_VOLUMES {
                    return Err(Error::Invalid(format!("create {name}: {MAX_VOLUMES} volumes are all that a node has; remove some (volume prune)")));
                }
                let meta = Meta { created: crate::shim::now(), labels, options };
                disk::make(&self.folder, &name, &meta).map_err(|e| Error::io(format_args!("make volume {name}"), &e))?;
                state.volumes.insert(name.clone(), meta.clone());
                self.tell(&name, Change::Created);
                meta
            }
        };
        if let Some((task, target, read_only)) = user {
            state.users.entry(name.clone()).or_default().insert(task);
            if state.used.entry(task).or_default().entry(name.clone()).or_default().insert(target.to_owned()) {
                self.tell(&name, Change::Mounted { task, target, read_only });
            }
        }
        Ok(self.shown(&state, &name, &meta))
    }

    /// A task of an earlier daemon uses these.
    pub(crate) fn adopt(&self, task: TaskId, names: &[String]) {
        let mut state = self.lock();
        for name in names {
            if state.volumes.contains_key(name) {
                state.users.entry(name.clone()).or_default().insert(task);
                state.used.entry(task).or_default().entry(name.clone()).or_default();
            }
        }
    }

    /// What the task uses.
    pub(crate) fn used_by(&self, task: TaskId) -> Vec<String> {
        self.lock().used.get(&task).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The task uses none any more; those that were its own go. Memory that nobody uses is given back.
    pub(crate) fn release(&self, task: TaskId) -> Result<()> {
        let mut free = Vec::new();
        {
            let mut state = self.lock();
            for (name, targets) in state.used.remove(&task).unwrap_or_default() {
                // One that an earlier daemon mounted is told once.
                (0..targets.len().max(1)).for_each(|_| self.tell(&name, Change::Unmounted { task }));
                let users = state.users.entry(name.clone()).or_default();
                users.remove(&task);
                if !users.is_empty() {
                    continue;
                }
                state.users.remove(&name);
                self.deactivate(&state, &name)?;
                let own = state.volumes.get(&name).and_then(|meta| meta.labels.get(OWNER)).is_some_and(|owner| *owner == task.to_string());
                free.extend(own.then_some(name));
            }
        }
        free.into_iter().try_for_each(|name| self.remove_now(&name, true))
    }

    fn deactivate(&self, state: &State, name: &str) -> Result<()> {
        let has_options = state.volumes.get(name).is_some_and(|meta| !meta.options.is_empty());
        let data = self.data(name);
        if !has_options || !is_mounted(&data) {
            return Ok(());
        }
        kernel::detach(&data).map_err(|e| Error::io(format_args!("unmount volume {name}"), &e))
    }

    /// At the daemon's start, when all tasks are known again: memory that nobody uses is given back.
    pub(crate) fn settle(&self) {
        let state = self.lock();
        for name in state.volumes.keys().filter(|name| !state.users.contains_key(*name)) {
            if let Err(error) = self.deactivate(&state, name) {
                tracing::warn!(volume = name, %error, "a volume's tmpfs is still mounted");
            }
        }
    }

    /// Removes a volume that no task uses.
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let (this, name) = (self.clone(), name.to_owned());
        files::blocking(move || this.remove_now(&name, force)).await?
    }

    fn remove_now(&self, name: &str, force: bool) -> Result<()> {
        let gone = {
            let mut state = self.lock();
            if !state.volumes.contains_key(name) {
                return if force { Ok(()) } else { Err(Error::NoSuchVolume(name.to_owned())) };
            }
            if let Some(users) = state.users.get(name) {
                return Err(Error::VolumeInUse { name: name.to_owned(), users: users.iter().copied().collect() });
            }
            self.deactivate(&state, name)?;
            let gone = disk::take_away(&self.folder, name).map_err(|e| Error::io(format_args!("remove volume {name}"), &e))?;
            state.volumes.remove(name);
            self.tell(name, Change::Removed);
            gone
        };
        // It is no volume any more; what cannot be deleted now is, at the next start.
        std::fs::remove_dir_all(&gone).map_err(|e| Error::io(format_args!("remove volume {name}"), &e))
    }

    /// Bytes on disk of a volume.
    pub async fn size(&self, name: &str) -> Result<u64> {
        let data = self.data(name);
        files::blocking(move || disk::size(&data)).await
    }

    /// Gives a fresh, empty volume to the user who is about to have it. Others stay whose they are.
    pub(crate) fn hand_over(data: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
        let fresh = std::fs::read_dir(data)?.next().is_none();
        if !fresh {
            return Ok(());
        }
        let folder = rustix::fs::open(data, rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC, Mode::empty())?;
        let status = rustix::fs::fstat(&folder)?;
        if (status.st_uid, status.st_gid) != (uid, gid) {
            std::os::unix::fs::fchown(&folder, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

/// The name of a task's own volume at `target`.
pub fn own_name(task: TaskId, target: &str) -> String {
    hex::encode(Sha256::digest(format!("{task}:{target}")))
}

/// True when something is mounted on the folder.
fn is_mounted(data: &Path) -> bool {
    let device = |path: &Path| std::fs::symlink_metadata(path).map(|meta| std::os::unix::fs::MetadataExt::dev(&meta)).ok();
    data.parent().is_some_and(|parent| device(data) != device(parent))
}

/// 64 hexadecimal digits, as Docker names what nobody named.
fn made_up_name() -> Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).map_err(|e| Error::io("read /dev/urandom", &e))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewVolume {
        NewVolume { name: name.into(), ..NewVolume::default() }
    }

    fn opened(dir: &Path) -> Volumes {
        Volumes::open(dir.join("volumes"), 0o711).unwrap()
    }

    #[tokio::test]
    async fn volumes_are_made_found_again_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = opened(dir.path());
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let made = volumes.create(NewVolume { labels: labels.clone(), ..new("one") }).await.unwrap();
        assert!(made.mountpoint.ends_with("volumes/one/_data") && made.mountpoint.is_dir());
        std::fs::write(made.mountpoint.join("f"), vec![1; 10_000]).unwrap();
        assert!(volumes.size("one").await.unwrap() >= 10_000);
        assert_eq!(volumes.create(new("one")).await.unwrap(), made, "it is there already");
        let unnamed = volumes.create(new("")).await.unwrap();
        assert!(unnamed.name.len() == 64 && unnamed.labels.contains_key(ANONYMOUS));
        // cut off in the middle of a making and of a removal
        std::fs::create_dir_all(dir.path().join("volumes/.new-x/_data")).unwrap();
        std::fs::create_dir_all(dir.path().join("volumes/.gone-y/_data/sub")).unwrap();
        let again = opened(dir.path());
        let names: Vec<String> = again.list().into_iter().map(|volume| volume.name).collect();
        assert!(names.len() == 2 && names.contains(&"one".to_owned()), "{names:?}");
        assert_eq!(std::fs::read_dir(dir.path().join("volumes")).unwrap().count(), 2, "nothing is left over");
        assert_eq!(again.list().into_iter().find(|volume| volume.name == "one").unwrap().labels, labels);
        again.remove("one", false).await.unwrap();
        assert!(!made.mountpoint.exists());
        assert_eq!(again.remove("one", false).await.unwrap_err().to_string(), "get one: no such volume");
        again.remove("one", true).await.unwrap();
    }

    #[tokio::test]
    async fn every_change_is_told_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = opened(dir.path());
        let (told, heard) = std::sync::mpsc::channel();
        volumes.watch(Arc::new(move |name, change| told.send(format!("{name} {change:?}")).unwrap()));
        let (task, adopted) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        for target in ["/x", "/y", "/x"] {
            volumes.take(task, (target, true), new("vol")).unwrap();
        }
        volumes.adopt(adopted, &["vol".into()]);
        volumes.release(task).unwrap();
        volumes.release(adopted).unwrap();
        volumes.remove("vol", false).await.unwrap();
        volumes.remove("vol", true).await.unwrap();
        let words: Vec<String> = heard.try_iter().map(|line: String| line.split(' ').nth(1).unwrap_or_default().to_owned()).collect();
        assert_eq!(words, ["Created", "Mounted", "Mounted", "Unmounted", "Unmounted", "Unmounted", "Removed"]);
    }

    #[tokio::test]
    async fn a_volume_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = opened(dir.path());
        let (a, b) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        volumes.take(a, ("/x", false), new("vol")).unwrap();
        volumes.adopt(b, &["vol".into(), "unknown".into()]);
        assert_eq!(volumes.list()[0].users, [a, b]);
        let error = volumes.remove("vol", true).await.unwrap_err();
        assert_eq!(error, Error::VolumeInUse { name: "vol".into(), users: vec![a, b] });
        assert_eq!((volumes.used_by(b), volumes.used_by(TaskId::from_bytes([3; 16]))), (vec!["vol".to_owned()], Vec::new()));
        volumes.release(a).unwrap();
        assert_eq!(volumes.list()[0].users, [b]);
        volumes.release(b).unwrap();
        volumes.remove("vol", false).await.unwrap();
    }

    #[test]
    fn a_volume_without_a_name_goes_with_its_task() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = opened(dir.path());
        let task = TaskId::from_bytes([1; 16]);
        let (first, _) = volumes.take(task, ("/x", false), new("")).unwrap();
        let (second, _) = volumes.take(task, ("/y", false), new("")).unwrap();
        assert_eq!(volumes.take(task, ("/x", false), new("")).unwrap().0.name, first.name, "a step that is done again");
        assert!(first.name != second.name && first.name.len() == 64);
        std::fs::write(first.mountpoint.join("f"), "x").unwrap();
        volumes.release(task).unwrap();
        assert_eq!(volumes.list(), []);
        assert!(!first.mountpoint.exists());
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = opened(dir.path());
        let option = |key: &str, value: &str| NewVolume { options: BTreeMap::from([(key.to_owned(), value.to_owned())]), ..new("vol") };
        for (wanted, words) in [
            (new("a/b"), "create a/b: \"a/b\" includes invalid characters for a local volume name"),
            (new("x"), "create x: volume name is too short"),
            (new(".."), "includes invalid characters"),
            (NewVolume { driver: "nfs".into(), ..new("vol") }, "create vol: error looking up volume plugin nfs: plugin \"nfs\" not found"),
            (option("colour", "red"), "create vol: invalid option: \"colour\""),
            (option("type", "nfs"), "create vol: missing required option: \"device\""),
        ] {
            let error = volumes.create(wanted).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(volumes.list(), []);
        assert_eq!(std::fs::read_dir(dir.path().join("volumes")).unwrap().count(), 0);
    }
}
