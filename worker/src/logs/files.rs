//! The files of one log as they lie on the disk: opened one after the other, the newest first.
//!
//! Invariants: a file is known by its first bytes (`api::log::HEAD`), never by its name, which a rotation moves, or its inode, which is used again;
//! since names only move towards the older, and this goes the same way, a rotation meanwhile hides no file. One that moved along is told once.
//! At most one file is open at a time. Never: reads beyond a file's head.

use super::place;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use wsw_api::Time;
use wsw_api::log::{HEAD, MAX_LOG_FILES, older_name};

/// Names that may be missing before the older ones: a rotation, also one that was cut off, leaves one out.
pub const MAX_GAP: u32 = 1;

/// A file's first bytes; what comes later in the log is larger (but for clocks that were set back).
pub type Head = [u8; HEAD];

/// One file.
#[derive(Debug)]
pub struct Part {
    /// 0 for the current one.
    pub number: u32,
    pub head: Head,
    pub length: u64,
    pub file: File,
}

impl Part {
    /// Nothing in it was written after this.
    pub fn modified(&self) -> Option<Time> {
        let since = self.file.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok().map(Time)
    }
}

/// What tells without opening it whether the current file was written since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// Looks at the current file.
pub fn sight(current: &Path) -> Option<Sight> {
    let meta = current.symlink_metadata().ok()?;
    Some(Sight { inode: meta.ino(), length: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

/// The path of a log's file by its number.
pub fn path(current: &Path, number: u32) -> PathBuf {
    let name = current.file_name().unwrap_or_default().to_string_lossy();
    if number == 0 { current.to_owned() } else { current.with_file_name(older_name(&name, number)) }
}

/// The files that are there, the newest first. Those without a whole head have no record yet and are left out.
pub fn newest_first(current: &Path) -> impl Iterator<Item = io::Result<Part>> + use<> {
    let current = current.to_owned();
    let mut missing = 0;
    let mut last: Option<Head> = None;
    let looks = (0..=MAX_LOG_FILES).map_while(move |number| match open(&path(&current, number), number) {
        Ok(Looked::Missing) => {
            missing += 1;
            (missing <= MAX_GAP).then_some(None)
        }
        Ok(Looked::Empty) => Some(None),
        Ok(Looked::Part(part)) => Some(Some(Ok(part))),
        Err(error) => Some(Some(Err(error))),
    });
    looks.flatten().filter(move |part| match part {
        Ok(part) => last.replace(part.head) != Some(part.head),
        Err(_) => true,
    })
}

enum Looked {
    Missing,
    Empty,
    Part(Part),
}

fn open(path: &Path, number: u32) -> io::Result<Looked> {
    let file = match place::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Ok(Looked::Missing);
        }
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Looked::Missing);
    }
    let mut head = [0; HEAD];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => Ok(Looked::Part(Part { number, head, length: meta.len(), file })),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Looked::Empty),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(second: u32) -> String {
        format!("2026-01-01T00:00:{second:02}.000000000Z stdout F x\n")
    }

    #[test]
    fn files_come_from_the_newest_on_over_one_gap_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("t.log");
        let seen = || newest_first(&current).map(|part| part.map(|part| (part.number, part.head[18]))).collect::<io::Result<Vec<_>>>().unwrap();
        assert_eq!(seen(), []);
        for (number, second) in [(1, 7), (2, 6), (3, 6), (5, 4)] {
            std::fs::write(path(&current, number), head(second)).unwrap();
        }
        assert_eq!(seen(), [(1, b'7'), (2, b'6')], "the current one is missing: one gap; 4 is missing too");
        std::fs::write(&current, "2026-01-01T00").unwrap();
        assert_eq!(seen(), [(1, b'7'), (2, b'6'), (5, b'4')], "what has no record yet is no gap");
        std::fs::remove_file(path(&current, 2)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path(&current, 2)).unwrap();
        assert_eq!(seen(), [(1, b'7'), (3, b'6')], "a link is none");
    }

    #[test]
    fn a_change_is_seen_without_opening() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("t.log");
        assert_eq!(sight(&current), None);
        std::fs::write(&current, "x").unwrap();
        let first = sight(&current);
        assert_eq!(first, sight(&current));
        std::fs::write(&current, "xy").unwrap();
        assert_ne!(first, sight(&current));
    }
}
