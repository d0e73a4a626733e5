//! Records of task logs: cutting a guest's bytes into lines and stamping them (`wsw_api::log`).
//!
//! Owns: the bytes of a record and its time. Invariants: a record's text is at most `MAX_LINE` long; `P` records of a line are followed by its `F`;
//! the times of one log strictly increase (unless the clock is set back by more than `MAX_DRIFT`). Never: touches a file (`logs`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wsw_api::log::{HEAD, MAX_DRIFT, MAX_LINE, Stream};

const SECONDS_PER_DAY: u64 = 86_400;
/// Where the tag of a record is: time, space, `stdout` or `stderr`, space.
const TAG: usize = HEAD + 8;

/// Records of one log that wait to be written.
#[derive(Debug, Default)]
pub struct Records {
    pub bytes: Vec<u8>,
    last: Duration,
}

impl Records {
    /// Appends one record.
    pub fn push(&mut self, now: SystemTime, stream: Stream, full: bool, text: &[u8]) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let next = self.last + Duration::from_nanos(1);
        self.last = if now >= next || next - now > Duration::from_nanos(MAX_DRIFT) { now } else { next };
        self.bytes.reserve(text.len() + TAG + 3);
        stamp(&mut self.bytes, self.last);
        self.bytes.push(b' ');
        end_record(&mut self.bytes, stream, full, text);
    }
}

/// Appends one record with the time of another: what is told about it.
pub fn record_before(out: &mut Vec<u8>, other: &[u8], stream: Stream, text: &[u8]) {
    out.extend_from_slice(other.get(..=HEAD).unwrap_or_default());
    end_record(out, stream, true, text);
}

fn end_record(out: &mut Vec<u8>, stream: Stream, full: bool, text: &[u8]) {
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(if full { b" F " } else { b" P " });
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Lines that end in these records.
pub fn lines(records: &[u8]) -> u64 {
    let ends = records.split(|byte| *byte == b'\n').filter(|record| record.get(TAG) == Some(&b'F')).count();
    u64::try_from(ends).unwrap_or(u64::MAX)
}

/// Cuts one stream of a guest into records. Bytes after the last newline wait for the rest of their line.
pub struct LineCutter {
    stream: Stream,
    partial: Vec<u8>,
}

impl LineCutter {
    pub const fn new(stream: Stream) -> Self {
        Self { stream, partial: Vec::new() }
    }

    /// Appends the records of `bytes` to `out`.
    pub fn push(&mut self, mut bytes: &[u8], now: SystemTime, out: &mut Records) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            if self.partial.is_empty() {
                self.line(line, now, out);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole, now, out);
                whole.clear();
                self.partial = whole;
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.partial.extend_from_slice(bytes);
        // A full piece goes out before its line ends, so that what is held here stays bounded. `>` and not `>=`: a line of exactly
        // MAX_LINE bytes is one record.
        while self.partial.len() > MAX_LINE {
            let rest = self.partial.split_off(MAX_LINE);
            out.push(now, self.stream, false, &self.partial);
            self.partial = rest;
        }
    }

    /// True when bytes wait for the rest of their line.
    pub const fn has_begun(&self) -> bool {
        !self.partial.is_empty()
    }

    /// The stream ended: what is left of a line without newline becomes a record.
    pub fn finish(&mut self, now: SystemTime, out: &mut Records) {
        if !self.partial.is_empty() {
            let rest = std::mem::take(&mut self.partial);
            self.line(&rest, now, out);
        }
    }

    fn line(&self, mut text: &[u8], now: SystemTime, out: &mut Records) {
        while text.len() > MAX_LINE {
            let (piece, rest) = text.split_at(MAX_LINE);
            out.push(now, self.stream, false, piece);
            text = rest;
        }
        out.push(now, self.stream, true, text);
    }
}

/// RFC 3339 in UTC with nine digits of nanoseconds.
fn stamp(out: &mut Vec<u8>, since: Duration) {
    let (days, second) = (since.as_secs() / SECONDS_PER_DAY, since.as_secs() % SECONDS_PER_DAY);
    let (year, month, day) = date(days);
    for (value, width, end) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3_600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (u64::from(since.subsec_nanos()), 9, b'Z'),
    ] {
        digits(out, value, width);
        out.push(end);
    }
}

fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for place in out.iter_mut().skip(start).rev() {
        *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Year, month and day of a day since 1970 (the well-known algorithm over eras of 400 years that start in March).
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, 7)
    }

    fn take(out: &mut Records) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut out.bytes)).into_owned()
    }

    /// Stream, tag and text of each record.
    fn ends(out: &mut Records) -> Vec<String> {
        take(out).lines().map(|line| line[HEAD + 1..].to_owned()).collect()
    }

    #[test]
    fn stamps_are_rfc_3339() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (951_868_800, "2000-03-01T00:00:00.000000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
            (1_795_000_000, "2026-11-18T11:06:40.000000007Z"),
        ] {
            let mut out = Records::default();
            out.push(at(seconds), Stream::Stdout, true, b"x");
            assert_eq!(take(&mut out), format!("{want} stdout F x\n"));
        }
    }

    #[test]
    fn times_of_a_log_increase_unless_the_clock_is_set_back_far() {
        let mut out = Records::default();
        for (seconds, nanos) in [(9, 7), (9, 7), (9, 7), (8, 999_999_999), (10, 0), (9, 5), (8, 0)] {
            out.push(UNIX_EPOCH + Duration::new(seconds, nanos), Stream::Stdout, true, b"");
        }
        let stamps: Vec<String> = take(&mut out).lines().map(|line| line[17..29].to_owned()).collect();
        assert_eq!(stamps, ["09.000000007", "09.000000008", "09.000000009", "09.000000010", "10.000000000", "10.000000001", "08.000000000"]);
    }

    #[test]
    fn lines_are_counted_and_pieces_are_not() {
        let mut out = Records::default();
        for (full, text) in [(true, "a F b"), (false, "x"), (false, ""), (true, ""), (true, "z")] {
            out.push(at(0), Stream::Stderr, full, text.as_bytes());
        }
        assert_eq!((lines(&out.bytes), lines(b""), lines(b"\n\n")), (3, 0, 0));
        let mut note = Vec::new();
        record_before(&mut note, &out.bytes, Stream::Stdout, b"note");
        assert_eq!(String::from_utf8_lossy(&note), "1970-01-01T00:00:00.000000007Z stdout F note\n");
    }

    #[test]
    fn lines_are_joined_over_writes_and_the_last_one_needs_no_newline() {
        let (mut cutter, mut out) = (LineCutter::new(Stream::Stderr), Records::default());
        cutter.push(b"one\ntw", at(0), &mut out);
        cutter.push(b"o\n\nthree", at(0), &mut out);
        assert_eq!(ends(&mut out), ["stderr F one", "stderr F two", "stderr F "]);
        cutter.finish(at(0), &mut out);
        assert_eq!(ends(&mut out), ["stderr F three"]);
        cutter.finish(at(0), &mut out);
        assert!(out.bytes.is_empty());
    }

    #[test]
    fn long_lines_are_cut_and_exact_ones_are_not() {
        let tags = |parts: &[&[u8]]| {
            let (mut cutter, mut out) = (LineCutter::new(Stream::Stdout), Records::default());
            parts.iter().for_each(|part| cutter.push(part, at(0), &mut out));
            cutter.finish(at(0), &mut out);
            take(&mut out).lines().map(|line| (line.as_bytes()[TAG], line.len() - TAG - 2)).collect::<Vec<_>>()
        };
        let exact = vec![b'a'; MAX_LINE];
        assert_eq!(tags(&[&exact, b"\n"]), [(b'F', MAX_LINE)]);
        assert_eq!(tags(&[&exact, b"b\n"]), [(b'P', MAX_LINE), (b'F', 1)]);
        assert_eq!(tags(&[&[exact.as_slice(), &exact, b"c\nd"].concat()]), [(b'P', MAX_LINE), (b'P', MAX_LINE), (b'F', 1), (b'F', 1)]);
    }
}
