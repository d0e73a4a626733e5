//! This machine's side of a copy: what source and destination are, packing and unpacking.
//!
//! Errors are in Go's words (`lstat X: no such file or directory`), because docker prints them.

use std::{io, os::fd::OwnedFd, path::Path};

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use rustix::fs::{FileType, Mode, OFlags};
use tokio::task::JoinHandle;
use tokio_util::io::{StreamReader, SyncIoBridge};
use wsw_runtime::transfer::{self, Owner, Packer, Renames, Root, Sending, Unpacker, path};

use super::{
    plan::{self, Info},
    progress::{Counted, Counter},
    remote::Body,
};
use crate::cli::errors::Error;

/// Links that are followed one after the other at a destination, as with docker.
const MAX_LINKS: usize = 10;
const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

fn failed(doing: &str, path: &str, error: &io::Error) -> Error {
    Error::Plain(format!("{doing} {path}: {}", transfer::said(error)))
}

/// An absolute path with the end that it was given.
pub fn absolute(given: &str) -> Result<String, Error> {
    let full = if given.starts_with('/') {
        given.to_owned()
    } else {
        let here = std::env::current_dir().map_err(|error| Error::Plain(format!("getwd: {}", transfer::said(&error))))?;
        format!("{}/{given}", here.display())
    };
    Ok(path::with_end_of(&path::clean(&full), given))
}

/// A destination that no file or folder could have.
pub fn check_output(to: &str) -> Result<(), Error> {
    let folder = path::parent(&path::clean(to));
    if folder != "." && Path::new(&folder).metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(Error::Plain(format!("invalid output path: directory {folder:?} does not exist")));
    }
    match rustix::fs::stat(to) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("stat", to, &error.into())),
        Ok(status) => match FileType::from_raw_mode(status.st_mode) {
            FileType::CharacterDevice | FileType::BlockDevice => {
                Err(Error::Plain(format!("invalid output path: {to:?} must be a directory or a regular file: got a device")))
            }
            _ => Ok(()),
        },
    }
}

/// All links of a path followed; the error names the part that is not there.
fn resolved(given: &str) -> Result<String, Error> {
    let found = Path::new(given).canonicalize().map_err(|error| {
        if error.kind() == io::ErrorKind::NotADirectory {
            return Error::plain("not a directory");
        }
        let ends = given.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([given.len()]);
        let wrong = ends.map(|at| given.get(..at).unwrap_or(given)).find(|part| Path::new(part).metadata().is_err());
        failed("lstat", wrong.unwrap_or(given).trim_end_matches('/'), &error)
    })?;
    found.into_os_string().into_string().map_err(|name| Error::Plain(format!("{}: its name is not UTF-8", name.display())))
}

/// What is copied into a container: links before the last part are followed, the last one where that was asked for.
pub fn source(given: &str, follows: bool) -> Result<Info, Error> {
    let (resolved, rebase) = if follows {
        plan::rebased(given, &resolved(given)?)
    } else {
        let (folder, name) = given.rsplit_once('/').map_or(("", given), |(folder, name)| (folder, name));
        let found = resolved(&format!("{folder}/"))?;
        let found = format!("{}/{name}", if found == "/" { "" } else { &found });
        let rebase = if given.ends_with('/') && path::base(given) != path::base(&found) { path::base(given) } else { "" };
        let rebase = rebase.to_owned();
        (found, rebase)
    };
    let status = rustix::fs::lstat(resolved.as_str()).map_err(|error| failed("lstat", &resolved, &error.into()))?;
    let is_folder = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
    Ok(Info { path: resolved, exists: true, is_folder, rebase })
}

/// Where what comes out of a container goes: links are followed, and the last may lead to what is not there yet.
fn destination(given: &str) -> Result<Info, Error> {
    let mut place = given.to_owned();
    for _ in 0..=MAX_LINKS + 1 {
        match rustix::fs::lstat(place.as_str()) {
            Err(rustix::io::Errno::NOENT) => {
                let folder = path::split(&place).0;
                let above = rustix::fs::stat(folder.as_str()).map_err(|error| failed("stat", &folder, &error.into()))?;
                if FileType::from_raw_mode(above.st_mode) != FileType::Directory {
                    return Err(Error::plain("not a directory"));
                }
                return Ok(Info { path: place, ..Info::default() });
            }
            Err(error) => return Err(failed("lstat", &place, &error.into())),
            Ok(status) => match FileType::from_raw_mode(status.st_mode) {
                FileType::Symlink => {
                    let target = rustix::fs::readlink(place.as_str(), Vec::new()).map_err(|error| failed("readlink", &place, &error.into()))?;
                    place = plan::target_of(&place, &target.to_string_lossy());
                }
                kind => return Ok(Info { path: place, exists: true, is_folder: kind == FileType::Directory, rebase: String::new() }),
            },
        }
    }
    Err(Error::Plain(format!("too many symlinks in {given}")))
}

fn open(place: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    rustix::fs::open(place, HANDLE | flags, Mode::empty()).map_err(|error| failed("open", place, &error.into()))
}

/// Unpacks what a container sends.
pub async fn unpack(body: Incoming, source: Info, to: String, bytes: Counter) -> Result<(), Error> {
    let destination = destination(&to)?;
    let plan = plan::prepare(&source, &destination)?;
    let pieces = body.into_data_stream().map_err(io::Error::other);
    let mut reader = Counted { inner: SyncIoBridge::new(StreamReader::new(pieces)), bytes };
    let done = tokio::task::spawn_blocking(move || {
        let root = Root::of_user(open(&plan.folder, OFlags::DIRECTORY)?);
        let shown = path::clean(&plan.folder);
        let how = Unpacker { to: "", shown: &shown, owner: Owner::Own, keeps_kinds: true };
        let renames = Renames(plan::renames(&source, &plan));
        transfer::unpack(&root, how, &renames, &mut reader).map_err(|fault| Error::Plain(fault.to_string()))?;
        io::copy(&mut reader, &mut io::sink()).map(drop).map_err(|error| Error::Plain(format!("unexpected EOF: {error}")))
    });
    done.await.map_err(|error| Error::Plain(error.to_string()))?
}

/// Packs a file or folder under this name, while it is sent.
pub fn pack(source: String, name: String, bytes: Counter) -> (JoinHandle<io::Result<()>>, Body) {
    let (sending, mut pieces) = transfer::pieces();
    let packing = tokio::task::spawn_blocking(move || {
        let done = pack_into(&source, &name, Counted { inner: sending.clone(), bytes });
        if done.is_err() {
            // Without it the archive would look whole.
            sending.fail(io::Error::other("the archive is not whole"));
        }
        done
    });
    let stream = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    (packing, StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync())
}

fn pack_into(source: &str, name: &str, out: Counted<Sending>) -> io::Result<()> {
    let flags = if path::names_folder(source) { OFlags::DIRECTORY } else { OFlags::NOFOLLOW };
    let node = open(source, flags).map_err(|error| io::Error::other(error.to_string()))?;
    let root = Root::of_user(node.try_clone()?);
    let mut packer = Packer::new(&root, out);
    packer.pack(node, name.as_bytes())?;
    packer.finish().map(drop)
}
