//! One record of a log file, and the lines that records add up to.
//!
//! Invariants: a line is at most [`MAX_JOINED`] long, more of it comes as a further line; the two streams do not mix; what is not a record is skipped
//! (a disk that was full leaves halves behind). Never: reads a file.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wsw_api::Time;
use wsw_api::log::Stream;

/// A line that is longer comes in parts: one reader must not hold a guest's endless line in memory.
const MAX_JOINED: usize = 1024 * 1024;

/// One record, without its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub time: Time,
    pub stream: Stream,
    /// The line ends here.
    pub full: bool,
    pub text: &'a [u8],
}

/// A line that is whole, or a part that is as long as it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub time: Time,
    pub stream: Stream,
    pub text: Vec<u8>,
}

/// Reads `<time> <stdout|stderr> <F|P> <text>`.
pub fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let (time, rest) = word(bytes)?;
    let (stream, rest) = word(rest)?;
    let (tag, text) = word(rest)?;
    let time = OffsetDateTime::parse(std::str::from_utf8(time).ok()?, &Rfc3339).ok()?;
    let time = Time(u64::try_from(time.unix_timestamp_nanos()).ok()?);
    let full = match tag {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Record { time, stream: stream_of(stream)?, full, text })
}

/// Stream and tag only, for counting lines.
pub fn parse_tags(bytes: &[u8]) -> Option<(Stream, bool)> {
    let (_, rest) = word(bytes)?;
    let (stream, rest) = word(rest)?;
    Some((stream_of(stream)?, word(rest)?.0 == b"F"))
}

fn stream_of(word: &[u8]) -> Option<Stream> {
    [Stream::Stdout, Stream::Stderr].into_iter().find(|stream| stream.as_str().as_bytes() == word)
}

fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().take(64).position(|byte| *byte == b' ')?;
    let (word, rest) = bytes.split_at(at);
    Some((word, rest.get(1..)?))
}

/// Puts the pieces of lines together; one per file.
#[derive(Debug, Default)]
pub struct Joiner {
    stdout: Option<Joined>,
    stderr: Option<Joined>,
}

impl Joiner {
    /// Takes a record; gives a line when it is whole.
    pub fn push(&mut self, record: Record<'_>) -> Option<Joined> {
        let slot = match record.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut line = slot.take().unwrap_or_else(|| Joined { time: record.time, stream: record.stream, text: Vec::new() });
        line.text.extend_from_slice(record.text);
        if record.full {
            line.text.push(b'\n');
            return Some(line);
        }
        if line.text.len() >= MAX_JOINED {
            return Some(line);
        }
        *slot = Some(line);
        None
    }

    /// What was begun and never ended (its writer was killed), each as a line.
    pub fn rest(&mut self) -> Vec<Joined> {
        let mut lines: Vec<Joined> = [self.stdout.take(), self.stderr.take()].into_iter().flatten().collect();
        lines.iter_mut().for_each(|line| line.text.push(b'\n'));
        lines.sort_by_key(|line| line.time);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_their_nanoseconds() {
        let record = parse(b"2026-03-01T00:00:00.000000007Z stderr F two  words ").unwrap();
        assert_eq!((record.time, record.stream, record.full, record.text), (Time(1_772_323_200_000_000_007), Stream::Stderr, true, b"two  words ".as_slice()));
        assert_eq!(parse(b"2026-03-01T00:00:00Z stdout P ").unwrap().text, b"");
        for bad in ["", "x", "2026-03-01T00:00:00Z stdout F", "2026-03-01T00:00:00Z stdin F x", "yesterday stdout F x", "2026-03-01T00:00:00Z stdout X x"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn pieces_are_joined_by_stream() {
        let mut joiner = Joiner::default();
        let mut lines = Vec::new();
        for (n, text) in ["stdout P a", "stderr F e", "stdout P b", "stdout F c"].into_iter().enumerate() {
            let bytes = format!("2026-03-01T00:00:0{n}Z {text}");
            lines.extend(joiner.push(parse(bytes.as_bytes()).unwrap()));
        }
        let texts: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect();
        assert_eq!(texts, ["e\n", "abc\n"]);
        assert!(lines[1].time < lines[0].time, "a line has the time of its first piece");
        joiner.push(parse(b"2026-03-01T00:00:09Z stderr P cut").unwrap());
        assert_eq!(joiner.rest().into_iter().map(|line| line.text).collect::<Vec<_>>(), [b"cut\n"]);
        assert_eq!(joiner.rest(), []);
    }

    #[test]
    fn an_endless_line_comes_in_parts() {
        let mut joiner = Joiner::default();
        let bytes = format!("2026-03-01T00:00:00Z stdout P {}", "x".repeat(16 * 1024));
        let parts = (0..200).filter_map(|_| joiner.push(parse(bytes.as_bytes()).unwrap())).count();
        assert_eq!(parts, 3);
    }
}
