//! A task's mounts: what it asks for is found, made safe, and put below its shim's own folder.
//!
//! As root each source becomes a detached copy (`kernel`) with the owners mapped (`owners`), which is then put at `<bundle>/m/<i>`: the shim's
//! sandbox allows its own folder and no other, and its user sees the service's files as its own. Without root nothing can be mounted: the shim
//! opens volumes and binds where they are.
//!
//! Invariants: a source is looked up once and held by descriptor from then on; all that is mounted is nosuid, nodev, noexec; read-only is the
//! mount's, not only the guest's; what is mounted goes with the bundle.
//! Never: removes what a source holds.

pub(crate) mod kernel;
mod owners;
mod place;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::files;
use crate::shim::Opened;
use crate::users::User;
use crate::volumes::{Kind, NewVolume, Volumes};
use owners::Owners;
pub(crate) use place::Ready;
use source::Source;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wsw_api::TaskId;
use wsw_api::mount::{DEFAULT_TMPFS_BYTES, DEFAULT_TMPFS_MODE};
use wsw_api::spec::{ContainerSpec, Mount, MountKind};

/// Folder of a bundle below which its task's mounts are.
pub(crate) const FOLDER: &str = "m";

/// A mount whose source was found.
pub(crate) struct Found {
    target: String,
    read_only: bool,
    what: What,
}

enum What {
    /// To be put in place: a folder, or a file.
    Tree { tree: OwnedFd, is_file: bool },
    /// To be opened where it is.
    Path(PathBuf),
}

/// All that mounts of tasks need.
#[derive(Clone)]
pub(crate) struct Mounts {
    volumes: Volumes,
    /// None without root: nothing is mounted then.
    shim: Option<User>,
    owners: Arc<Owners>,
}

impl Mounts {
    pub(crate) fn new(volumes: Volumes, shim: Option<User>) -> Self {
        Self { volumes, shim, owners: Arc::default() }
    }

    /// Finds all sources; what is missing or wrong is refused before anything runs. Volumes count as used by the task from now on.
    pub(crate) async fn find(&self, task: TaskId, container: &ContainerSpec) -> Result<Vec<Found>> {
        // A user whom nobody knows is refused even where no file asks who it is.
        let user = User::of_service(&container.user)?;
        if container.mounts.is_empty() {
            return Ok(Vec::new());
        }
        let (this, mounts) = (self.clone(), container.mounts.clone());
        files::blocking(move || {
            let found = mounts.iter().map(|mount| this.find_one(task, mount, user)).collect::<Result<Vec<_>>>();
            if found.is_err() {
                this.volumes.release(task)?;
            }
            found
        })
        .await?
    }

    fn find_one(&self, task: TaskId, mount: &Mount, user: User) -> Result<Found> {
        match mount.kind {
            MountKind::Bind => {
                let options = mount.bind.unwrap_or_default();
                let path = Path::new(&mount.source);
                let source = source::bind(path, options.create_mountpoint)?;
                let deep = !options.read_only_non_recursive;
                self.show(mount, user, ("bind source", path), source, Look { read_only: mount.read_only, deep, recursive: !options.non_recursive })
            }
            MountKind::Volume => self.find_volume(task, mount, user),
            MountKind::Tmpfs => self.find_tmpfs(mount, user),
        }
    }

    fn find_volume(&self, task: TaskId, mount: &Mount, user: User) -> Result<Found> {
        let options = mount.volume.clone().unwrap_or_default();
        let driver = options.driver.unwrap_or_default();
        if self.shim.is_none() && driver.options.get("type").is_some_and(|kind| kind == "tmpfs") {
            return Err(no_tmpfs(&mount.target));
        }
        let new = NewVolume { name: mount.source.clone(), driver: driver.name, labels: options.labels, options: driver.options };
        let (volume, kind) = self.volumes.take(task, (&mount.target, mount.read_only), new)?;
        let (name, data) = (volume.name.as_str(), volume.mountpoint.as_path());
        let look = Look { read_only: mount.read_only, deep: true, recursive: false };
        match kind {
            Kind::Bind { device, read_only, recursive } => {
                let source = source::bind(&device, false)?;
                let what = format!("device of volume {name}");
                self.show(mount, user, (&what, &device), source, Look { read_only: mount.read_only || read_only, recursive, ..look })
            }
            Kind::Plain | Kind::Tmpfs { .. } => {
                if self.shim.is_some() && kind == Kind::Plain {
                    Volumes::hand_over(data, user.uid, user.gid).map_err(|e| Error::io(format_args!("chown volume {name}"), &e))?;
                }
                let source = source::volume(name, data, &options.subpath)?;
                let (what, path) = (format!("volume {name}"), data.join(&options.subpath));
                self.show(mount, user, (&what, &path), source, look)
            }
        }
    }

    /// Makes a source ready for the guest: copied, restricted, owners mapped; refused where the guest's user cannot even enter it.
    fn show(&self, mount: &Mount, user: User, (what, path): (&str, &Path), source: Source, look: Look) -> Result<Found> {
        let found = |what| Found { target: mount.target.clone(), read_only: look.read_only, what };
        let Some(shim) = self.shim else {
            if source.is_file() {
                return Err(source::invalid("bind", format_args!("{what} {} is a file: without root a task can have folders only", path.display())));
            }
            let own = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
            source::check_entry(what, path, &source.status, own, own.uid)?;
            return Ok(found(What::Path(path.to_owned())));
        };
        let failed = |error: std::io::Error| source::invalid(mount.kind.as_str(), format_args!("{what} {} cannot be mounted: {error}", path.display()));
        let copied = |recursive| kernel::clone_tree(source.fd.as_fd(), recursive);
        let mut tree = copied(look.recursive).map_err(failed)?;
        let mapped = self.owners.swapped(user, shim).and_then(|namespace| kernel::map_owners(tree.as_fd(), namespace.as_fd()));
        match &mapped {
            Ok(()) => source::check_entry(what, path, &source.status, user, user.uid)?,
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "owners cannot be mapped here: files keep theirs");
                // A fresh volume belongs to whoever can use it then.
                if mount.kind == MountKind::Volume && Volumes::hand_over(path, shim.uid, shim.gid).is_ok() {
                    let status = kernel::status(source.fd.as_fd()).map_err(failed)?;
                    source::check_entry(what, path, &status, shim, shim.uid)?;
                } else {
                    source::check_entry(what, path, &source.status, shim, shim.uid)?;
                }
                // A map that failed half way is not kept.
                tree = copied(look.recursive).map_err(failed)?;
            }
        }
        kernel::restrict(tree.as_fd(), look.read_only, look.deep).map_err(failed)?;
        Ok(found(What::Tree { tree, is_file: source.is_file() }))
    }

    fn find_tmpfs(&self, mount: &Mount, _: User) -> Result<Found> {
        let Some(shim) = self.shim else { return Err(no_tmpfs(&mount.target)) };
        let options = mount.tmpfs.unwrap_or_default();
        let or = |given, default| if given == 0 { default } else { given };
        let size = or(options.size_bytes, DEFAULT_TMPFS_BYTES);
        let mode = if options.mode == 0 { DEFAULT_TMPFS_MODE } else { options.mode };
        let tree = kernel::tmpfs(&kernel::Tmpfs { size, mode, uid: shim.uid, gid: shim.gid, files: 0 }, mount.read_only);
        let tree = tree.map_err(|e| source::invalid("tmpfs", format_args!("{}: {e}", mount.target)))?;
        Ok(Found { target: mount.target.clone(), read_only: mount.read_only, what: What::Tree { tree, is_file: false } })
    }

    /// Where `put` will show what was found; for the bundle, which is written first.
    pub(crate) fn plan(found: &[Found], bundle: &Path) -> Result<Vec<Ready>> {
        place::plan(found, &bundle.join(FOLDER))
    }

    /// What the shim opens where it is.
    pub(crate) fn opened(found: &[Found]) -> Vec<Opened> {
        let opened = |one: &Found| match &one.what {
            What::Path(path) => Some(Opened { path: path.clone(), read_only: one.read_only }),
            What::Tree { .. } => None,
        };
        found.iter().filter_map(opened).collect()
    }

    /// Puts all in place below the bundle. What was put when it fails is taken away with the bundle.
    pub(crate) async fn put(found: Vec<Found>, bundle: PathBuf) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        files::blocking(move || place::put(&found, &bundle.join(FOLDER))).await?
    }

    /// The volumes that the task uses, for its record.
    pub(crate) fn volumes_of(&self, task: TaskId) -> Vec<String> {
        self.volumes.used_by(task)
    }

    /// The task's end: nothing is mounted for it any more, and its volumes are free.
    pub(crate) async fn release(&self, task: TaskId, bundle: PathBuf) -> Result<()> {
        // Most tasks have none, and ten thousand of them end at once.
        if self.volumes.used_by(task).is_empty() && !bundle.join(FOLDER).exists() {
            return Ok(());
        }
        let this = self.clone();
        files::blocking(move || {
            Self::clear(&bundle)?;
            this.volumes.release(task)
        })
        .await?
    }

    /// Takes away what is mounted below a bundle.
    pub(crate) fn clear(bundle: &Path) -> Result<()> {
        place::clear(&bundle.join(FOLDER)).map_err(|e| Error::io(format_args!("unmount below {}", bundle.display()), &e))
    }

    /// At the daemon's start: takes away what is mounted below `folder` for bundles that `keeps` does not know.
    pub(crate) fn sweep(folder: &Path, keeps: impl Fn(&Path) -> bool) {
        for point in kernel::mounted_below(folder) {
            let bundle = point.ancestors().find(|path| path.file_name().is_some_and(|name| name == FOLDER)).and_then(Path::parent);
            if bundle.is_some_and(&keeps) {
                continue;
            }
            tracing::info!(path = %point.display(), "unmounting what a dead task left");
            if let Err(error) = kernel::detach(&point) {
                tracing::warn!(path = %point.display(), %error, "it cannot be unmounted");
            }
        }
    }
}

/// How a source is shown.
#[derive(Clone, Copy)]
struct Look {
    read_only: bool,
    /// Read-only holds for what is mounted in it, too.
    deep: bool,
    /// With what is mounted in it.
    recursive: bool,
}

fn no_tmpfs(target: &str) -> Error {
    source::invalid("tmpfs", format_args!("{target}: this daemon does not run as root, so nothing can be mounted; use a volume"))
}
