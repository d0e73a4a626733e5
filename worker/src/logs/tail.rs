//! Where a query begins in a log: at its oldest file, at the first file that is not all too old, or where the last so many lines begin.
//!
//! For the latter it reads backwards and counts the records that end a line. The streams' pieces may lie between each other, so it goes a few records
//! further back than asked ([`SLACK`]) and says how many lines to pass over: pieces of the first wanted line are then not missed.

use super::files::{self, Head, Part};
use super::record::parse_tags;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use wsw_api::Time;
use wsw_api::log::{Query, Stream};
use wsw_api::time::SECOND;

/// Records beyond those asked for: a line's pieces rarely lie further apart than this.
const SLACK: u64 = 64;
/// Bytes read at a time.
const CHUNK: u64 = 64 * 1024;
/// What is kept of a record whose front lies in the chunk before: enough for its tags.
const TAGS: usize = 128;
/// A file's time may be this much before that of its last record: the kernel's clock for files is coarse.
const COARSE: u64 = SECOND;

/// Where to begin, and what was there then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    pub head: Head,
    pub offset: u64,
    /// Lines to pass over from there.
    pub skip: u64,
    /// The newest file and its length.
    pub end: (Head, u64),
}

/// True when the query asks for this stream; one that names none wants both.
pub fn wanted(query: &Query, stream: Stream) -> bool {
    match stream {
        _ if query.stdout == query.stderr => true,
        Stream::Stdout => query.stdout,
        Stream::Stderr => query.stderr,
    }
}

/// The place from which what the query asks for comes; none while there is no log.
pub fn start(current: &Path, query: &Query) -> io::Result<Option<Start>> {
    let goal = query.tail.map(|lines| lines.saturating_add(SLACK));
    let mut counter = Counter::default();
    let mut start: Option<Start> = None;
    for part in files::newest_first(current) {
        let part = part?;
        if start.is_some() && is_before(&part, query.since) {
            break;
        }
        let offset = match goal {
            Some(goal) => counter.backwards(&part, goal, query)?,
            None => 0,
        };
        let end = start.map_or((part.head, part.length), |start| start.end);
        start = Some(Start { head: part.head, offset, skip: 0, end });
        if goal.is_some_and(|goal| counter.found >= goal) {
            break;
        }
    }
    let skip = query.tail.map_or(0, |lines| counter.found.saturating_sub(lines));
    Ok(start.map(|start| Start { skip, ..start }))
}

/// Nothing of an older file is wanted when it was written last before that.
fn is_before(part: &Part, since: Option<Time>) -> bool {
    let modified = part.modified().map(|time| time.after(COARSE));
    since.zip(modified).is_some_and(|(since, modified)| modified < since)
}

/// Lines of the wanted streams, counted from the end.
#[derive(Default)]
struct Counter {
    found: u64,
    /// A line's end was seen: pieces before it are part of a line that is counted. Those after the last end are a line too.
    ended: [bool; 2],
}

impl Counter {
    /// Counts until the goal is reached; the offset after which the counted lines come.
    fn backwards(&mut self, part: &Part, goal: u64, query: &Query) -> io::Result<u64> {
        let mut end = part.length;
        // The beginning of a record whose front lies in the chunk before.
        let mut behind: Vec<u8> = Vec::new();
        // What comes after the last newline is a record that is still being written, or was cut off.
        let mut whole = false;
        while end > 0 && self.found < goal {
            let from = end.saturating_sub(CHUNK);
            let mut chunk = vec![0; usize::try_from(end - from).unwrap_or_default()];
            part.file.read_exact_at(&mut chunk, from)?;
            chunk.append(&mut behind);
            let mut tail = chunk.len();
            while let Some(newline) = chunk.get(..tail).and_then(|head| head.iter().rposition(|byte| *byte == b'\n')) {
                if whole {
                    self.count(chunk.get(newline + 1..tail).unwrap_or_default(), query);
                    if self.found >= goal {
                        return Ok(from + newline as u64 + 1);
                    }
                }
                whole = true;
                tail = newline;
            }
            chunk.truncate(tail.min(TAGS));
            behind = chunk;
            end = from;
        }
        if whole {
            self.count(&behind, query);
        }
        Ok(0)
    }

    fn count(&mut self, record: &[u8], query: &Query) {
        let Some((stream, full)) = parse_tags(record).filter(|(stream, _)| wanted(query, *stream)) else { return };
        let [stdout, stderr] = &mut self.ended;
        let ended = if stream == Stream::Stdout { stdout } else { stderr };
        if full || !*ended {
            self.found += 1;
        }
        *ended = true;
    }
}
