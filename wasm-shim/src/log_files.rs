//! Log files on the disk: appending, rotating, what a full disk does.
//!
//! Owns: the files `<task>.log` (current), `.log.1`, `.log.2`, … (older). Invariants: a task's files take at most `max_size` × `max_files`
//! bytes and one record; a record is never cut over two files, and after a write that failed in the middle of one the next begins on a line
//! of its own (a log has one writer in its life: a task does not outlive its shim); the names change from the oldest to the newest, so at any instant each name that exists holds what comes before the
//! name above it. Records that cannot be written are counted, and the log says how many once it can be written again.

use crate::cri;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use wsw_api::log::{Bounds, Stream};

/// Log files that are open at once: descriptors are needed for connections.
pub const MAX_OPEN: usize = 256;
/// Only the shim's user and root read logs.
pub const LOG_MODE: u32 = 0o600;

/// A file that is open.
struct Current {
    file: File,
    length: u64,
    /// Its place in the order of use.
    used: u64,
}

/// Records that were lost on a log.
struct Lost {
    records: u64,
    error: io::Error,
}

/// All files of a writer.
#[derive(Default)]
pub struct LogFiles {
    open: HashMap<u64, Current>,
    /// By use, the one that was not used for longest first.
    order: BTreeMap<u64, u64>,
    uses: u64,
    lost: HashMap<u64, Lost>,
    /// Records that were lost on all logs together.
    pub dropped: u64,
}

impl LogFiles {
    /// Appends whole records to the log `id`; those that the disk does not take are counted.
    pub fn append(&mut self, id: u64, path: &Path, bounds: Bounds, records: &[u8]) {
        if let Err(error) = self.try_append(id, path, bounds, records) {
            // A file that failed is opened again next time: it may have been replaced, or the disk may have room then.
            self.close(id);
            let records = error.left.iter().filter(|byte| **byte == b'\n').count();
            let records = u64::try_from(records).unwrap_or(u64::MAX);
            let before = self.dropped;
            self.dropped += records;
            // Each power of two: a full disk must not fill the shim's own log too.
            if before.checked_ilog2() != self.dropped.checked_ilog2() {
                tracing::error!(dropped = self.dropped, "log records dropped: {}: {}", path.display(), error.error);
            }
            let lost = self.lost.entry(id).or_insert(Lost { records: 0, error: error.error });
            lost.records += records;
        }
    }

    fn try_append<'a>(&mut self, id: u64, path: &Path, bounds: Bounds, records: &'a [u8]) -> Result<(), Failed<'a>> {
        let mut left = records;
        let fail = |error, left| Failed { error, left };
        if let Some(lost) = self.lost.get(&id) {
            // Ends the record of which a part may have been written.
            let mut note = vec![b'\n'];
            let text = format!("wsw: {} log records were lost: {}", lost.records, lost.error);
            cri::record_before(&mut note, records, Stream::Stderr, text.as_bytes());
            self.write(id, path, &note).map_err(|error| fail(error, left))?;
            self.lost.remove(&id);
        }
        while !left.is_empty() {
            let length = self.current(id, path).map_err(|error| fail(error, left))?.length;
            let fits = fitting(left, bounds.max_size.saturating_sub(length));
            if fits == 0 && length > 0 {
                self.rotate(id, path, bounds).map_err(|error| fail(error, left))?;
                continue;
            }
            // An empty file takes at least one record, however long.
            let (now, rest) = left.split_at(if fits == 0 { first_record(left) } else { fits });
            self.write(id, path, now).map_err(|error| fail(error, left))?;
            left = rest;
        }
        Ok(())
    }

    fn write(&mut self, id: u64, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let current = self.current(id, path)?;
        current.file.write_all(bytes)?;
        current.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The log's current file, opened if need be.
    fn current(&mut self, id: u64, path: &Path) -> io::Result<&mut Current> {
        self.uses += 1;
        if let Some(current) = self.open.get(&id) {
            self.order.remove(&current.used);
        } else {
            if self.open.len() >= MAX_OPEN
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.open.remove(&oldest);
            }
            let (file, length) = open(path)?;
            self.open.insert(id, Current { file, length, used: 0 });
        }
        self.order.insert(self.uses, id);
        let current = self.open.get_mut(&id).ok_or_else(|| io::Error::other("just opened"))?;
        current.used = self.uses;
        Ok(current)
    }

    fn rotate(&mut self, id: u64, path: &Path, bounds: Bounds) -> io::Result<()> {
        self.close(id);
        let missing_is_fine = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if bounds.max_files <= 1 {
            return missing_is_fine(std::fs::remove_file(path));
        }
        for number in (1..bounds.max_files - 1).rev() {
            missing_is_fine(std::fs::rename(rotated(path, number), rotated(path, number + 1)))?;
        }
        missing_is_fine(std::fs::rename(path, rotated(path, 1)))
    }

    /// The log's file need not stay open.
    pub fn close(&mut self, id: u64) {
        if let Some(current) = self.open.remove(&id) {
            self.order.remove(&current.used);
        }
    }

    /// The log's task is gone.
    pub fn forget(&mut self, id: u64) {
        self.close(id);
        self.lost.remove(&id);
    }
}

/// What was not written, and why.
struct Failed<'a> {
    error: io::Error,
    left: &'a [u8],
}

/// For writing only: the shim need not be able to read logs.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(LOG_MODE).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Bytes of the whole records that fit into `room`.
fn fitting(records: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if records.len() <= room {
        return records.len();
    }
    let head = records.get(..room).unwrap_or(records);
    head.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn first_record(records: &[u8]) -> usize {
    records.iter().position(|byte| *byte == b'\n').map_or(records.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { max_size: 10, max_files: 3 };

    fn read(path: &Path) -> [Option<String>; 4] {
        [path.to_owned(), rotated(path, 1), rotated(path, 2), rotated(path, 3)].map(|path| std::fs::read_to_string(path).ok())
    }

    fn texts(parts: [Option<&str>; 4]) -> [Option<String>; 4] {
        parts.map(|part| part.map(str::to_owned))
    }

    #[test]
    fn files_are_bounded_and_records_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        let mut files = LogFiles::default();
        files.append(1, &path, SMALL, b"one\ntwo\nthree\n");
        assert_eq!(read(&path), texts([Some("three\n"), Some("one\ntwo\n"), None, None]));
        files.append(1, &path, SMALL, b"four\na record that is too long\nx\n");
        assert_eq!(read(&path), texts([Some("x\n"), Some("a record that is too long\n"), Some("four\n"), None]), "the oldest went");
    }

    #[test]
    fn one_file_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        LogFiles::default().append(1, &path, Bounds { max_size: 10, max_files: 1 }, b"one\ntwo\nthree\n");
        assert_eq!(read(&path), texts([Some("three\n"), None, None, None]));
    }

    #[test]
    fn a_name_that_is_missing_does_not_hinder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        std::fs::write(rotated(&path, 2), "old\n").unwrap();
        let mut files = LogFiles::default();
        files.append(1, &path, SMALL, b"three\n");
        assert_eq!(read(&path), texts([Some("three\n"), Some("one\ntwo\n"), Some("old\n"), None]));
    }

    #[test]
    fn what_is_lost_is_counted_and_told_when_the_disk_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later").join("t.log");
        let mut files = LogFiles::default();
        files.append(1, &path, Bounds::default(), b"one\ntwo\n");
        files.append(1, &path, Bounds::default(), b"three\n");
        assert_eq!(files.dropped, 3);
        std::fs::create_dir(folder.path().join("later")).unwrap();
        let four = "2026-01-01T00:00:00.000000000Z stdout F four";
        files.append(1, &path, Bounds::default(), format!("{four}\n").as_bytes());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "");
        assert!(lines[1].starts_with("2026-01-01T00:00:00.000000000Z stderr F wsw: 3 log records were lost: "), "{text}");
        assert_eq!(lines[2..], [four]);
    }

    #[test]
    fn many_logs_share_few_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = LogFiles::default();
        let path = |id: u64| folder.path().join(format!("{id}.log"));
        for round in 0..3 {
            (0..300).for_each(|id| files.append(id, &path(id), Bounds::default(), format!("{round}\n").as_bytes()));
            assert_eq!((files.open.len(), files.order.len()), (MAX_OPEN, MAX_OPEN));
        }
        (0..300).for_each(|id| assert_eq!(std::fs::read_to_string(path(id)).unwrap(), "0\n1\n2\n"));
        (0..300).for_each(|id| files.forget(id));
        assert!(files.open.is_empty() && files.order.is_empty());
    }
}
