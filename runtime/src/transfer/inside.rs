//! The root of a running container: what stands there, and archives out of it and into it, over channels.
//!
//! Owns: how the root is found (`/proc/<pid>/root`, held by descriptor), and how many copies there are at a time. Invariants: the process is known to be the container's before
//! its root is used; a client that is slow slows the copy down, one that is gone ends it.

use super::pieces::{Pieces, pieces};
use super::root::{Fault, Root};
use super::unpack::{Owner, Renames, Unpacker, unpack};
use super::{Packer, path};
use crate::error::{Error, Result};
use crate::images;
use rustix::fs::{Mode, OFlags};
use std::io::{self, Read};
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::io::SyncIoBridge;
use wsw_api::files::{Extract, PathStat};

/// Copies at a time on this node: each holds a thread for as long as its client takes.
const MAX_COPIES: usize = 64;
static PLACES: Semaphore = Semaphore::const_new(MAX_COPIES);
/// `/proc/<pid>/cgroup` has a line for each hierarchy.
const MAX_GROUPS: u64 = 64 << 10;

/// See the module's page.
#[derive(Debug)]
pub struct Inside {
    root: Root,
    /// Uid and gid of its user, where it has one.
    user: Option<(u32, u32)>,
}

impl Inside {
    /// The root of a process that is in the control group of this name. Blocking.
    pub(crate) fn open(pid: u32, group: &str, user: Option<(u32, u32)>) -> Result<Self> {
        let gone = |_| Error::Conflict("the container is not running".into());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Held: what is asked through it is about this very process, or fails.
        let process = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).map_err(gone)?;
        let groups = rustix::fs::openat(&process, "cgroup", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(gone)?;
        let mut text = String::new();
        std::fs::File::from(groups).take(MAX_GROUPS).read_to_string(&mut text).map_err(|_| Error::Conflict("the container is not running".into()))?;
        if !text.lines().any(|line| line.split('/').any(|part| part == group)) {
            return Err(Error::Conflict("the container is not running".into()));
        }
        let root = rustix::fs::openat(&process, "root", flags, Mode::empty()).map_err(gone)?;
        Ok(Self { root: Root::of_stranger(root), user })
    }

    /// What a path is.
    pub async fn stat(self: Arc<Self>, path: &str) -> wsw_api::Result<PathStat> {
        let (place, path) = (place()?, path::inside(path));
        blocking(move || {
            let _place = place;
            self.root.look(&path).map(|(_, stat)| stat)
        })
        .await
    }

    /// Packs what stands at a path.
    pub async fn archive(self: Arc<Self>, path: &str) -> wsw_api::Result<(PathStat, Pieces)> {
        let (place, path, inside) = (place()?, path::inside(path), Arc::clone(&self));
        let (path, node, stat) = blocking(move || self.root.look(&path).map(|(node, stat)| (path, node, stat))).await?;
        let (sending, pieces) = pieces();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            // A whole tree has no name of its own: `/etc`, not `//etc`.
            let name = if path::base(&path) == "/" { "" } else { path::base(&path) };
            let mut packer = Packer::new(&inside.root, sending.clone());
            if let Err(error) = packer.pack(node, name.as_bytes()).and_then(|()| packer.finish().map(drop)) {
                sending.fail(error);
            }
        });
        Ok((stat, pieces))
    }

    /// Unpacks an archive, packed or plain, in a folder.
    pub async fn extract(self: Arc<Self>, path: &str, how: Extract, body: impl AsyncRead + Send + Unpin + 'static) -> wsw_api::Result<()> {
        let (place, path) = (place()?, path::inside(path));
        let reader = images::decompressed(body).await.map_err(|error| wsw_api::Error::invalid(error.to_string()))?;
        let mut reader = SyncIoBridge::new(reader);
        blocking(move || {
            let _place = place;
            let owner = match self.user {
                Some((uid, gid)) if how.for_user => Owner::Of(uid, gid),
                _ => Owner::Archive,
            };
            let to = path.trim_end_matches("/.");
            let to = if to.is_empty() { "/" } else { to };
            let how = Unpacker { to, shown: to, owner, keeps_kinds: how.keeps_kinds };
            unpack(&self.root, how, &Renames::default(), &mut reader)?;
            // What follows the archive's end is not looked at, but read: the client waits until all is sent.
            io::copy(&mut reader, &mut io::sink()).map(drop).map_err(|error| Fault::Gone(error.to_string()))
        })
        .await
    }
}

fn place() -> wsw_api::Result<SemaphorePermit<'static>> {
    PLACES.try_acquire().map_err(|_| wsw_api::Error::unavailable(format!("{MAX_COPIES} copies are under way on this node; try again when one is done")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> wsw_api::Result<T> {
    let done = crate::files::blocking(work).await.map_err(wsw_api::Error::from)?;
    done.map_err(|fault| {
        let text = fault.to_string();
        match fault {
            Fault::NotThere => wsw_api::Error::not_found(text),
            Fault::Wrong(_) | Fault::Gone(_) => wsw_api::Error::invalid(text),
            Fault::ReadOnly(_) => wsw_api::Error::forbidden(text),
            Fault::Failed(_) => wsw_api::Error::internal(text),
        }
    })
}
