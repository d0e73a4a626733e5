//! Where the last so many lines of a log begin.
//!
//! Reads backwards and counts the records that end a line. The streams' pieces may lie between each other, so it goes a few records
//! further back than asked ([`SLACK`]) and says how many lines to pass over: pieces of the first wanted line are then not missed.

use super::place;
use super::record::parse_tags;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use wsw_api::log::{Query, Stream};

/// Records beyond those asked for: a line's pieces rarely lie further apart than this.
const SLACK: u64 = 64;
/// Bytes read at a time.
const CHUNK: u64 = 64 * 1024;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// In the older part of a rotated log.
    pub in_rotated: bool,
    pub offset: u64,
    /// Lines to pass over from there.
    pub skip: u64,
}

/// True when the query asks for this stream; one that names none wants both.
pub fn wanted(query: &Query, stream: Stream) -> bool {
    match stream {
        _ if query.stdout == query.stderr => true,
        Stream::Stdout => query.stdout,
        Stream::Stderr => query.stderr,
    }
}

/// The place from which the last `lines` lines of the wanted streams come.
pub fn start(path: &Path, rotated: Option<&Path>, lines: u64, query: &Query) -> io::Result<Start> {
    let goal = lines.saturating_add(SLACK);
    let (offset, found) = backwards(path, goal, query)?;
    if found >= goal {
        return Ok(Start { in_rotated: false, offset, skip: found - lines });
    }
    let Some(rotated) = rotated else {
        return Ok(Start { in_rotated: false, offset: 0, skip: found.saturating_sub(lines) });
    };
    let (offset, older) = backwards(rotated, goal - found, query)?;
    Ok(Start { in_rotated: true, offset, skip: (found + older).saturating_sub(lines) })
}

/// The offset after which at most `goal` line ends come, and how many those are.
fn backwards(path: &Path, goal: u64, query: &Query) -> io::Result<(u64, u64)> {
    let mut file = match place::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(error),
    };
    let mut end = file.metadata()?.len();
    let mut found = 0;
    // The beginning of a record whose front lies in the chunk before.
    let mut behind: Vec<u8> = Vec::new();
    let mut last = true;
    while end > 0 {
        let from = end.saturating_sub(CHUNK);
        let mut chunk = vec![0; usize::try_from(end - from).unwrap_or_default()];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut chunk)?;
        chunk.append(&mut behind);
        let mut tail = chunk.len();
        while let Some(newline) = chunk.get(..tail).and_then(|head| head.iter().rposition(|byte| *byte == b'\n')) {
            let record = chunk.get(newline + 1..tail).unwrap_or_default();
            // What comes after the last newline is a record that is still being written.
            if !last && counts(record, query) {
                found += 1;
                if found == goal {
                    return Ok((from + newline as u64 + 1, found));
                }
            }
            last = false;
            tail = newline;
        }
        chunk.truncate(tail);
        behind = chunk;
        end = from;
    }
    if !last && counts(&behind, query) {
        found += 1;
    }
    Ok((0, found))
}

fn counts(record: &[u8], query: &Query) -> bool {
    parse_tags(record).is_some_and(|(stream, full)| full && wanted(query, stream))
}
