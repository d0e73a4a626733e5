//! One task's log, read from where a query begins to its end, over all of its files.
//!
//! Owns: how far it was read. Invariants: a file is known by its head (`files`), so rotations between two reads lose nothing of what still exists and
//! double nothing; at most one chunk is read at a time and nothing is left open; a record that was cut off (its writer was killed) is never given out.
//! Never: decides which lines are wanted by time.

use super::files::{self, Head, Part, Sight};
use super::place;
use super::record::{Joined, Joiner, parse};
use super::tail::{self, Start};
use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use wsw_api::log::Query;

/// A record that is longer is no record; its bytes are skipped. Far above `api::log::MAX_LINE` and its tags.
const MAX_RECORD: usize = 64 * 1024;

/// See the module's page.
#[derive(Debug)]
pub struct Source {
    current: PathBuf,
    /// The file that is being read, once one was seen.
    at: Option<Head>,
    offset: u64,
    end: End,
    /// The current file when it was read to its end.
    seen: Option<Sight>,
    /// Whole lines of the wanted streams to pass over: the way `tail` gets at its first line.
    skip: u64,
    carry: Vec<u8>,
    joiner: Joiner,
}

/// Where reading stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nowhere: what is added is read too.
    Open,
    /// In this file at this length.
    At(Head, u64),
    /// Here.
    Reached,
}

/// What one reading gave.
#[derive(Debug, Default)]
pub struct Chunk {
    pub lines: Vec<Joined>,
    /// Bytes taken from the disk.
    pub bytes: usize,
}

impl Source {
    /// From where the query begins to what is there now.
    pub fn open(current: PathBuf, query: &Query) -> io::Result<Self> {
        let joiner = Joiner::default();
        let mut source = Self { current, at: None, offset: 0, end: End::Reached, seen: None, skip: 0, carry: Vec::new(), joiner };
        source.look_for();
        if let Some(Start { head, offset, skip, end }) = tail::start(&source.current, query)? {
            (source.at, source.offset, source.skip) = (Some(head), offset, skip);
            source.end = End::At(end.0, end.1);
        }
        Ok(source)
    }

    /// Until the log was seen it may come into any of the folders.
    fn look_for(&mut self) {
        let (Some(parent), Some(name)) = (self.current.parent(), self.current.file_name()) else { return };
        let older = files::path(&self.current, 1).file_name().map(OsString::from).unwrap_or_default();
        if let Some(folder) = place::find(parent, &[name, &older]) {
            self.current = folder.join(name);
        }
    }

    /// Goes on beyond what was there.
    pub fn go_on(&mut self) {
        self.end = End::Open;
    }

    /// Nothing more is wanted.
    pub fn stop(&mut self) {
        self.end = End::Reached;
    }

    /// Reads up to `budget` bytes; an empty chunk is the end (for now).
    pub fn read(&mut self, budget: usize, query: &Query) -> io::Result<Chunk> {
        if self.end == End::Reached {
            return Ok(Chunk::default());
        }
        // Looked at before the files are: what is written after this is seen next time.
        let sight = files::sight(&self.current);
        if sight.is_some() && sight == self.seen {
            return Ok(Chunk::default());
        }
        if sight.is_none() && self.at.is_none() {
            self.look_for();
        }
        let Some(part) = self.next_part()? else {
            self.seen = sight;
            return Ok(Chunk::default());
        };
        let limit = match self.end {
            End::At(head, length) if head == part.head => length.min(part.length),
            _ => part.length,
        };
        let left = limit.saturating_sub(self.offset).min(budget as u64);
        let mut bytes = Vec::new();
        if left > 0 {
            let mut file = part.file;
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(left).read_to_end(&mut bytes)?;
        }
        if bytes.is_empty() && self.end != End::Open {
            self.end = End::Reached;
        }
        Ok(self.parse(&bytes, query))
    }

    /// The file in which there is something to read; the position moves to it.
    fn next_part(&mut self) -> io::Result<Option<Part>> {
        // The last one looked at, and the last one whose head is beyond ours; the former is none when it is the latter.
        let (mut newer, mut later): (Option<Part>, Option<Part>) = (None, None);
        for part in files::newest_first(&self.current) {
            let part = part?;
            if Some(part.head) == self.at {
                if part.length > self.offset {
                    return Ok(Some(part));
                }
                if part.length < self.offset {
                    // Something cut it.
                    self.carry.clear();
                    self.offset = part.length;
                }
                if matches!(self.end, End::At(head, _) if head == part.head) {
                    return Ok(Some(part));
                }
                // A file that has a newer one is written to no more: this was all of it.
                return Ok(newer.or(later).inspect(|part| self.move_to(part)));
            }
            if self.at.is_none_or(|at| part.head > at) {
                (newer, later) = (None, Some(part));
            } else {
                newer = Some(part);
            }
        }
        // The file was removed by rotations meanwhile (or there was none): the oldest of those after it.
        if let (Some(part), End::At(end, _)) = (&later, self.end)
            && part.head > end
        {
            self.end = End::Reached;
            return Ok(None);
        }
        Ok(later.inspect(|part| self.move_to(part)))
    }

    fn move_to(&mut self, part: &Part) {
        (self.at, self.offset) = (Some(part.head), 0);
        // A record that was cut off.
        self.carry.clear();
    }

    fn parse(&mut self, bytes: &[u8], query: &Query) -> Chunk {
        self.offset += bytes.len() as u64;
        let mut chunk = Chunk { lines: Vec::new(), bytes: bytes.len() };
        let mut data = std::mem::take(&mut self.carry);
        data.extend_from_slice(bytes);
        let mut rest = data.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (record, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let Some(record) = parse(record).filter(|record| tail::wanted(query, record.stream)) else { continue };
            if let Some(line) = self.joiner.push(record) {
                if self.skip == 0 {
                    chunk.lines.push(line);
                } else if line.text.ends_with(b"\n") {
                    self.skip -= 1;
                }
            }
        }
        if rest.len() <= MAX_RECORD {
            self.carry = rest.to_vec();
        }
        chunk
    }

    /// The lines whose end never came, once nothing is read any more.
    pub fn rest(&mut self) -> Vec<Joined> {
        let mut lines = self.joiner.rest();
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(lines.len());
        self.skip -= passed as u64;
        lines.split_off(passed)
    }
}
