//! Where every log entry is: the segments' offsets, and the newest entries themselves.
//!
//! Owns: the map from index to place, the tail cache. Invariants: entries are consecutive from `purged + 1` to `last`; each one is in
//! the cache, in a segment, or both; entries that are not written yet are always in the cache. Never: writes (`writer`).

use super::record;
use super::segment::{Contents, Segment};
use super::stored::{self, State, StoredId};
use super::types::RaftEntry;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Encoded bytes of written entries that stay in memory: the state machine reads each entry back right after it was appended.
const CACHE_BYTES: usize = 1024 * 1024;

/// A segment and what is in it.
pub struct Listed {
    pub segment: Arc<Segment>,
    pub contents: Contents,
    pub end: u64,
}

/// A cached entry; its encoded size once it is written.
struct Cached {
    entry: RaftEntry,
    written: Option<usize>,
}

/// The log as readers see it.
pub struct Index {
    segments: VecDeque<Listed>,
    cache: VecDeque<Cached>,
    cached_bytes: usize,
    /// The last entry, or what was purged when there is none.
    pub last: Option<StoredId>,
    pub state: State,
}

/// One stretch to read.
pub enum Piece {
    Entries(Vec<RaftEntry>),
    Disk { segment: Arc<Segment>, first: u64, offsets: Vec<u32>, end: u64 },
}

impl Index {
    /// Puts the segments of a folder together; they come in order of their sequence.
    pub fn assemble(listed: Vec<Listed>) -> io::Result<Self> {
        let mut segments: VecDeque<Listed> = VecDeque::with_capacity(listed.len());
        for next in listed {
            if let Some(from) = next.contents.truncated {
                segments.iter_mut().for_each(|earlier| earlier.contents.cut_from(from));
            }
            segments.push_back(next);
        }
        let state = segments.back().map(|newest| newest.contents.state).unwrap_or_default();
        let mut index = Self { segments, cache: VecDeque::new(), cached_bytes: 0, last: state.purged, state };
        let wanted = index.kept_from();
        let mut next = None;
        for listed in &mut index.segments {
            if listed.contents.next() <= wanted {
                listed.contents.offsets.clear();
            }
            if listed.contents.offsets.is_empty() {
                continue;
            }
            let first = listed.contents.first;
            if next.map_or(first > wanted, |next| next != first) {
                let what = format!(
                    "the log lacks the entries {} to {} before segment {}",
                    next.unwrap_or(wanted),
                    first.saturating_sub(1),
                    listed.segment.path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            next = Some(listed.contents.next());
        }
        if let Some(next) = next {
            index.last = Some(StoredId(0, 0, next - 1));
            let entry = index.read(next - 1, next, usize::MAX)?.pop().ok_or_else(|| io::Error::other("the last log entry cannot be read"))?;
            index.last = Some(StoredId::of(&entry.log_id));
        }
        Ok(index)
    }

    /// Index of the first entry that is not purged (openraft's first entry has index 0).
    fn kept_from(&self) -> u64 {
        self.state.purged.map_or(0, |purged| purged.index() + 1)
    }

    /// Index of the first entry there is.
    fn first(&self) -> u64 {
        let written = self.segments.iter().find(|listed| !listed.contents.offsets.is_empty()).map(|listed| listed.contents.first);
        let first = written.or_else(|| self.cache.front().map(|cached| cached.entry.log_id.index));
        first.map_or(self.kept_from(), |first| first.max(self.kept_from()))
    }

    fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.index() + 1)
    }

    /// Makes entries readable before they are written.
    pub fn append(&mut self, entry: RaftEntry) -> io::Result<()> {
        let id = StoredId::of(&entry.log_id);
        if self.last.is_some() && id.index() != self.next() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("entry {} would leave a hole after {}", id.index(), self.next() - 1)));
        }
        self.last = Some(id);
        self.cache.push_back(Cached { entry, written: None });
        Ok(())
    }

    /// Hides entries from `index` on; `last` is the one before.
    pub fn truncate(&mut self, index: u64, last: Option<StoredId>) {
        if index >= self.next() {
            return;
        }
        while self.cache.back().is_some_and(|cached| cached.entry.log_id.index >= index) {
            self.cached_bytes -= self.cache.pop_back().and_then(|cached| cached.written).unwrap_or(0);
        }
        self.last = last.max_by_index(self.state.purged);
    }

    /// Hides entries up to and with `purged`.
    pub fn purge(&mut self, purged: StoredId) {
        self.state.purged = Some(purged).max_by_index(self.state.purged);
        while self.cache.front().is_some_and(|cached| cached.entry.log_id.index <= purged.index()) {
            self.cached_bytes -= self.cache.pop_front().and_then(|cached| cached.written).unwrap_or(0);
        }
        if self.last.is_none_or(|last| last.index() <= purged.index()) {
            self.last = Some(purged);
        }
    }

    /// The writer wrote this entry into the active segment.
    pub fn written(&mut self, index: u64, offset: u32, bytes: usize) {
        if let Some(active) = self.segments.back_mut() {
            active.contents.take(record::Kind::Entry, index, offset, None);
        }
        let front = self.cache.front().map_or(0, |cached| cached.entry.log_id.index);
        let cached = index.checked_sub(front).and_then(|place| self.cache.get_mut(place as usize));
        if let Some(cached) = cached.filter(|cached| cached.written.is_none()) {
            cached.written = Some(bytes);
            self.cached_bytes += bytes;
        }
        while self.cached_bytes > CACHE_BYTES {
            match self.cache.front().and_then(|cached| cached.written) {
                Some(bytes) => self.cached_bytes -= bytes,
                None => break,
            }
            self.cache.pop_front();
        }
    }

    /// The writer wrote that entries from `index` on are gone.
    pub fn truncated(&mut self, index: u64) {
        let Some((active, earlier)) = self.segments.make_contiguous().split_last_mut() else { return };
        active.contents.take(record::Kind::Truncate, index, 0, None);
        earlier.iter_mut().for_each(|listed| listed.contents.cut_from(index));
    }

    /// The writer wrote the state.
    pub fn stated(&mut self, state: State) {
        if let Some(active) = self.segments.back_mut() {
            active.contents.take(record::Kind::State, 0, 0, Some(state));
        }
    }

    /// The active segment is so long now.
    pub fn grown(&mut self, end: u64) {
        if let Some(active) = self.segments.back_mut() {
            active.end = end;
        }
    }

    /// A new active segment.
    pub fn push(&mut self, segment: Arc<Segment>, end: u64, state: State) {
        self.segments.push_back(Listed { segment, contents: Contents { state, ..Contents::default() }, end });
    }

    /// What the active segment holds.
    pub fn active(&self) -> Option<&Listed> {
        self.segments.back()
    }

    /// Takes out leading segments in which no entry is left; never the active one.
    pub fn take_dead(&mut self, purged: u64) -> Vec<Arc<Segment>> {
        let mut dead = Vec::new();
        while self.segments.len() > 1 && self.segments.front().is_some_and(|listed| listed.contents.offsets.is_empty() || listed.contents.next() <= purged + 1)
        {
            dead.extend(self.segments.pop_front().map(|listed| listed.segment));
        }
        dead
    }

    /// True when purging up to `index` frees a segment.
    pub fn frees(&self, index: u64) -> bool {
        let oldest = self.segments.front().filter(|_| self.segments.len() > 1);
        self.state.purged.is_none_or(|purged| purged.index() < index) && oldest.is_some_and(|listed| listed.contents.next() <= index + 1)
    }

    /// Bytes of the log after the entry `index` (all of it without one).
    pub fn bytes_after(&self, index: Option<u64>) -> u64 {
        let from = index.map_or(0, |index| index + 1);
        let held = |listed: &Listed| match usize::try_from(from.saturating_sub(listed.contents.first)) {
            Ok(skip) if skip < listed.contents.offsets.len() => listed.end - u64::from(listed.contents.offsets[skip]),
            _ => 0,
        };
        self.segments.iter().map(held).sum()
    }

    /// The last entry before the newest `bytes` of the log.
    pub fn before_newest(&self, bytes: u64) -> Option<u64> {
        let mut left = bytes;
        for listed in self.segments.iter().rev() {
            if listed.end > left && !listed.contents.offsets.is_empty() {
                let from = listed.end - left;
                let place = listed.contents.offsets.partition_point(|offset| u64::from(*offset) < from) as u64;
                return (listed.contents.first + place).checked_sub(1);
            }
            left = left.saturating_sub(listed.end);
        }
        None
    }

    /// What has to be read for the entries from `from` up to `to` (not included), as far as they exist and `bytes` allow; at least one.
    pub fn pieces(&self, from: u64, to: u64, bytes: usize) -> Vec<Piece> {
        let (mut from, to) = (from.max(self.first()), to.min(self.next()));
        let cached_from = self.cache.front().map_or(u64::MAX, |cached| cached.entry.log_id.index);
        let mut pieces = Vec::new();
        let mut left = bytes as u64;
        for listed in &self.segments {
            let high = to.min(listed.contents.next()).min(cached_from);
            if from < listed.contents.first || from >= high {
                continue;
            }
            let start = (from - listed.contents.first) as usize;
            let offsets = &listed.contents.offsets[start..(high - listed.contents.first) as usize];
            let (count, end) = fit(listed, start, offsets.len(), left, pieces.is_empty());
            if count == 0 {
                return pieces;
            }
            left = left.saturating_sub(end - u64::from(offsets[0]));
            pieces.push(Piece::Disk { segment: listed.segment.clone(), first: from, offsets: offsets[..count].to_vec(), end });
            from += count as u64;
            if count < offsets.len() {
                return pieces;
            }
        }
        if from >= cached_from && from < to {
            let mut entries = Vec::new();
            for cached in self.cache.iter().skip((from - cached_from) as usize).take((to - from) as usize) {
                if left == 0 && !(pieces.is_empty() && entries.is_empty()) {
                    break;
                }
                left = left.saturating_sub(cached.written.unwrap_or(1) as u64);
                entries.push(cached.entry.clone());
            }
            pieces.push(Piece::Entries(entries));
        }
        pieces
    }

    fn read(&self, from: u64, to: u64, bytes: usize) -> io::Result<Vec<RaftEntry>> {
        read_pieces(self.pieces(from, to, bytes))
    }
}

/// How many of the `count` entries from place `start` on are at most `bytes` together, and where they end; one fits always when `first`.
fn fit(listed: &Listed, start: usize, count: usize, bytes: u64, first: bool) -> (usize, u64) {
    let offsets = &listed.contents.offsets;
    let begin = offsets.get(start).copied().map_or(0, u64::from);
    let mut fits = (0, begin);
    for taken in 1..=count {
        let end = offsets.get(start + taken).map_or(listed.end, |offset| u64::from(*offset));
        if end - begin > bytes && !(first && taken == 1) {
            break;
        }
        fits = (taken, end);
    }
    fits
}

/// Reads and decrypts; needs no lock.
pub fn read_pieces(pieces: Vec<Piece>) -> io::Result<Vec<RaftEntry>> {
    let mut entries = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Entries(cached) => entries.extend(cached),
            Piece::Disk { segment, first, offsets, end } => {
                let Some(start) = offsets.first().copied().map(u64::from) else { continue };
                let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
                segment.file.read_at(&mut bytes, start)?;
                for (index, offset) in (first..).zip(offsets) {
                    let at = u64::from(offset) - start;
                    let opened = record::open(&mut bytes[at as usize..], &segment.key);
                    let (_, body) = opened
                        .filter(|(header, _)| header.kind == record::Kind::Entry && header.index == index)
                        .ok_or_else(|| segment.damaged(u64::from(offset)))?;
                    entries.push(stored::read_entry(index, body)?);
                }
            }
        }
    }
    Ok(entries)
}

trait MaxByIndex {
    fn max_by_index(self, other: Self) -> Self;
}

impl MaxByIndex for Option<StoredId> {
    fn max_by_index(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if b.index() > a.index() { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}
