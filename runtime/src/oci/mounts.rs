//! What a container sees of the node's files: binds, volumes, tmpfs, as entries of the runtime spec.
//!
//! Owns: Docker's checks and options. The runtime mounts them, in the container's own mount namespace, so nothing of them is left when it ends.
//! Invariant: a volume counts as used before anything is written about it. Never: removes what a source holds.

use crate::error::{Error, Result};
use crate::executor::TaskRequest;
use crate::mounts::{kernel, source};
use crate::volumes::{Kind, NewVolume, Volumes};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use wsw_api::mount::DEFAULT_TMPFS_MODE;
use wsw_api::spec::{Mount, MountKind};

/// Mounts of a task, in the order of its spec, then the volumes that the image declares. Blocking.
pub(super) fn find(volumes: &Volumes, request: &TaskRequest, declared: &[String], root: &Path) -> Result<Vec<Value>> {
    let own = &request.spec.container.mounts;
    let implied = declared.iter().filter(|target| !own.iter().any(|mount| same(&mount.target, target)));
    let implied = implied.map(|target| Mount { kind: MountKind::Volume, target: target.clone(), ..Mount::default() }).collect::<Vec<_>>();
    let found = own.iter().chain(&implied).map(|mount| one(volumes, request, mount, root)).collect::<Result<Vec<_>>>();
    if found.is_err() {
        volumes.release(request.task)?;
    }
    found
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn one(volumes: &Volumes, request: &TaskRequest, mount: &Mount, root: &Path) -> Result<Value> {
    let (target, origin) = (&mount.target, mount.source.clone());
    let access = if mount.read_only { "ro" } else { "rw" };
    let bind = |source: &Path, mode: &str| json!({"destination": target, "type": "bind", "source": source, "options": [mode, access, "rprivate"]});
    match mount.kind {
        MountKind::Bind => {
            let options = mount.bind.unwrap_or_default();
            let path = PathBuf::from(origin);
            source::exists(&path, options.create_mountpoint)?;
            Ok(bind(&path, if options.non_recursive { "bind" } else { "rbind" }))
        }
        MountKind::Volume => {
            let options = mount.volume.clone().unwrap_or_default();
            let driver = options.driver.unwrap_or_default();
            let new = NewVolume { name: origin, driver: driver.name, labels: options.labels, options: driver.options };
            let (volume, kind) = volumes.take(request.task, (&mount.target, mount.read_only), new)?;
            let path = match &kind {
                Kind::Bind { device, .. } => device.clone(),
                Kind::Plain | Kind::Tmpfs { .. } => {
                    source::volume(&volume.name, &volume.mountpoint, &options.subpath).map(|_| volume.mountpoint.join(&options.subpath))?
                }
            };
            if kind == Kind::Plain && options.subpath.is_empty() && !options.no_copy {
                fill(root, target, &path)?;
            }
            Ok(bind(&path, "rbind"))
        }
        MountKind::Tmpfs => {
            let options = mount.tmpfs.unwrap_or_default();
            let mode = if options.mode == 0 { DEFAULT_TMPFS_MODE } else { options.mode };
            let mut words = vec!["noexec".to_owned(), "nosuid".into(), "nodev".into(), access.into(), format!("mode={mode:o}")];
            if options.size_bytes > 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            Ok(json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": words}))
        }
    }
}

/// Entries that are copied into a new volume; an image that has more there is better used otherwise.
const MAX_COPIED: usize = 1_000_000;

/// A new volume begins with what the image has in its place, as Docker does it.
fn fill(root: &Path, target: &str, data: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(format_args!("fill the volume for {target}"), &e);
    if std::fs::read_dir(data).map_err(failed)?.next().is_some() {
        return Ok(());
    }
    let open = |path: &Path| rustix::fs::open(path, rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
    let root = open(root).map_err(|e| failed(e.into()))?;
    let Ok(from) = kernel::open_in_root(root.as_fd(), Path::new(target)) else { return Ok(()) };
    let to = open(data).map_err(|e| failed(e.into()))?;
    crate::copy::tree(from, to, MAX_COPIED).map_err(failed)
}
