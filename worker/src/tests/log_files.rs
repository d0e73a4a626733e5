//! Reading logs while their files come and go: rotations of all kinds, cut files, writers that were killed, files that are too old.

use super::fake::{assigned, node_id, service_id, task_id};
use crate::board::Board;
use crate::log_path;
use crate::logs::files::path as numbered;
use crate::logs::source::Source;
use crate::logs::{Readers, Selector};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_stream::StreamExt;
use wsw_api::log::Query;
use wsw_api::{DesiredState, Time};

const BOTH: Query = Query { follow: false, stdout: true, stderr: true, tail: None, since: None, until: None };
const FOLLOW: Query = Query { follow: true, ..BOTH };

/// A log as a shim writes it: times that increase, names that change from the oldest to the newest.
struct Writer {
    _folder: tempfile::TempDir,
    path: PathBuf,
    next: u64,
}

impl Writer {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.log");
        Self { _folder: folder, path, next: 0 }
    }

    fn append(&self, text: &str) {
        OpenOptions::new().create(true).append(true).open(&self.path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The next number as a line.
    fn line(&mut self) {
        self.append(&format!("2026-01-01T00:{:02}:{:02}.000000000Z stdout F {}\n", self.next / 60 % 60, self.next % 60, self.next));
        self.next += 1;
    }

    fn lines(&mut self, count: u64) {
        (0..count).for_each(|_| self.line());
    }

    fn rotate(&self, files: u32) {
        if files == 1 {
            let _ = std::fs::remove_file(&self.path);
            return;
        }
        for number in (0..files - 1).rev() {
            let _ = std::fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1));
        }
    }
}

/// A reader and the numbers that it gave.
struct Follower {
    source: Source,
    query: Query,
}

impl Follower {
    fn new(path: &Path, query: Query) -> Self {
        let mut source = Source::open(path.to_owned(), &query).unwrap();
        if query.follow {
            source.go_on();
        }
        Self { source, query }
    }

    /// Up to `bytes` more; false when there was nothing.
    fn step(&mut self, bytes: usize, numbers: &mut Vec<u64>) -> bool {
        let chunk = self.source.read(bytes, &self.query).unwrap();
        numbers.extend(chunk.lines.iter().map(|line| String::from_utf8_lossy(&line.text).trim().parse::<u64>().expect("a whole number")));
        chunk.bytes > 0
    }

    fn all(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while self.step(100, &mut numbers) {}
        numbers
    }
}

fn all(path: &Path, query: Query) -> Vec<u64> {
    Follower::new(path, query).all()
}

#[test]
fn all_files_are_read_and_the_tail_goes_as_far_as_it_must() {
    let mut log = Writer::new();
    for _ in 0..7 {
        log.lines(30);
        log.rotate(5);
    }
    log.lines(30);
    assert_eq!(all(&log.path, BOTH), (90..240).collect::<Vec<_>>(), "five files are left");
    for tail in [0, 1, 29, 30, 31, 100, 149, 150, 151, 10_000] {
        assert_eq!(all(&log.path, Query { tail: Some(tail), ..BOTH }), (240 - tail.min(150)..240).collect::<Vec<_>>(), "{tail}");
    }
}

#[test]
fn a_follower_keeps_its_place_over_rotations() {
    let mut log = Writer::new();
    log.lines(3);
    let mut follower = Follower::new(&log.path, FOLLOW);
    assert_eq!(follower.all(), [0, 1, 2]);
    // Three rotations between two looks: three files to catch up with.
    for _ in 0..3 {
        log.lines(2);
        log.rotate(5);
    }
    assert_eq!(follower.all(), (3..9).collect::<Vec<_>>(), "the current one is missing");
    log.line();
    assert_eq!(follower.all(), [9]);
    // So many that the place is gone: on with the oldest that is left.
    for _ in 0..9 {
        log.lines(2);
        log.rotate(3);
    }
    log.lines(2);
    assert_eq!(follower.all(), (24..30).collect::<Vec<_>>());
}

#[test]
fn one_file_that_starts_over_is_known_by_what_is_in_it() {
    let mut log = Writer::new();
    log.lines(2);
    let mut follower = Follower::new(&log.path, FOLLOW);
    assert_eq!(follower.all(), [0, 1]);
    // The inode is used again by most file systems, and the new file is longer than what was read of the old one.
    log.rotate(1);
    log.lines(50);
    assert_eq!(follower.all(), (2..52).collect::<Vec<_>>());
    // Emptied in place, as a tool may do.
    OpenOptions::new().write(true).truncate(true).open(&log.path).unwrap();
    assert_eq!(follower.all(), [0; 0]);
    log.lines(60);
    assert_eq!(follower.all(), (52..112).collect::<Vec<_>>());
    // Cut in the middle: nothing is told twice, and what comes is told.
    let file = OpenOptions::new().write(true).open(&log.path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    assert_eq!(follower.all(), [0; 0]);
    log.append("\n");
    log.lines(2);
    assert_eq!(follower.all(), [112, 113]);
}

#[test]
fn a_query_ends_where_the_log_ended_when_it_began() {
    let mut log = Writer::new();
    log.lines(10);
    let mut reader = Follower::new(&log.path, BOTH);
    let mut numbers = Vec::new();
    assert!(reader.step(100, &mut numbers));
    log.lines(5);
    log.rotate(3);
    log.lines(5);
    numbers.extend(reader.all());
    assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "not what came later");
    let mut late = Follower::new(&log.path, BOTH);
    (0..3).for_each(|_| {
        log.rotate(3);
        log.line();
    });
    assert_eq!(late.all(), [0; 0], "all that it was to read is gone");
}

#[test]
fn what_a_killed_writer_left_is_read_without_its_torn_end() {
    let mut log = Writer::new();
    log.lines(4);
    log.rotate(4);
    log.lines(4);
    // Killed in the middle of a rotation: one name is missing, this or that.
    std::fs::rename(numbered(&log.path, 1), numbered(&log.path, 2)).unwrap();
    for gap in [1, 0] {
        assert_eq!(all(&log.path, BOTH), (0..8).collect::<Vec<_>>(), "{gap}");
        assert_eq!(all(&log.path, Query { tail: Some(6), ..BOTH }), (2..8).collect::<Vec<_>>(), "{gap}");
        std::fs::rename(numbered(&log.path, 0), numbered(&log.path, 1)).unwrap_or_default();
    }
    // Killed in the middle of a record, at each of its bytes.
    let whole = std::fs::read(numbered(&log.path, 1)).unwrap();
    for cut in 0..=whole.len() {
        std::fs::write(&log.path, &whole[..cut]).unwrap();
        std::fs::remove_file(numbered(&log.path, 1)).unwrap_or_default();
        let numbers = all(&log.path, BOTH);
        let ends = whole[..cut].iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(numbers[numbers.len() - ends as usize..], (4..4 + ends).collect::<Vec<_>>(), "cut at {cut}");
        let tail = all(&log.path, Query { tail: Some(1), ..BOTH });
        assert_eq!(tail.last(), numbers.last(), "cut at {cut}");
    }
}

/// No history of writes, rotations and reads loses what is still there or tells anything twice.
#[test]
fn random_histories() {
    for seed in 1..=300_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let files = u32::try_from(random(5)).unwrap() + 1;
        let mut log = Writer::new();
        let mut follower = Follower::new(&log.path, FOLLOW);
        let mut numbers = Vec::new();
        // Lines up to this one were in the log when the follower had read all: the files that held them may go.
        for _ in 0..60 {
            match random(4) {
                0 => log.lines(random(6)),
                // A rotation that would throw away what was not read is left out: then nothing may be missing.
                1 => {
                    while follower.step(1 << 20, &mut numbers) {}
                    log.rotate(files);
                }
                2 => drop(follower.step(usize::try_from(random(90)).unwrap() + 1, &mut numbers)),
                _ if files > 2 => {
                    while follower.step(1 << 20, &mut numbers) {}
                    log.lines(random(3) + 1);
                    log.rotate(files);
                }
                _ => {}
            }
        }
        while follower.step(64, &mut numbers) {}
        assert_eq!(numbers, (0..log.next).collect::<Vec<_>>(), "seed {seed}, {files} files");
    }
}

#[tokio::test]
async fn files_that_are_too_old_or_too_new_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let board = Arc::new(Board::default());
    board.add(&assigned(1, DesiredState::Running), true);
    let readers = Arc::new(Readers::new(node_id(1), folder.path().to_owned(), board));
    let path = log_path(folder.path(), task_id(1));
    let write = |number: u32, hour: u32| {
        let text: String = (0..3).map(|minute| format!("2026-01-01T{hour:02}:{minute:02}:00.000000000Z stdout F {hour}:{minute}\n")).collect();
        std::fs::write(numbered(&path, number), text).unwrap();
        let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600 + u64::from(hour) * 3_600 + 150);
        OpenOptions::new().write(true).open(numbered(&path, number)).unwrap().set_modified(written).unwrap();
    };
    (0..4).for_each(|number| write(number, 10 - number));
    let at = |hour: u64, minute: u64| Some(Time((1_767_225_600 + hour * 3_600 + minute * 60) * 1_000_000_000));
    let read = async |query: Query| -> Vec<String> {
        let lines = readers.read(Selector::Service(service_id(1)), query);
        lines.map(|line| String::from_utf8(line.unwrap().text).unwrap().trim().to_owned()).collect().await
    };
    assert_eq!(read(Query { since: at(9, 1), ..BOTH }).await, ["9:1", "9:2", "10:0", "10:1", "10:2"]);
    assert_eq!(read(Query { since: at(8, 2), until: at(9, 0), ..BOTH }).await, ["8:2", "9:0"]);
    assert_eq!(read(Query { since: at(9, 2), tail: Some(5), ..BOTH }).await, ["9:2", "10:0", "10:1", "10:2"]);
    assert_eq!(read(Query { since: at(11, 0), ..BOTH }).await, [""; 0]);
    assert_eq!(read(Query { until: at(7, 1), ..BOTH }).await, ["7:0", "7:1"]);
    // A file that was written last before that is not looked into, whatever is in it.
    std::fs::write(numbered(&path, 3), "2026-01-01T09:30:00.000000000Z stdout F too old by its file\n").unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600);
    OpenOptions::new().write(true).open(numbered(&path, 3)).unwrap().set_modified(old).unwrap();
    assert_eq!(read(Query { since: at(8, 2), ..BOTH }).await, ["8:2", "9:0", "9:1", "9:2", "10:0", "10:1", "10:2"]);
}
