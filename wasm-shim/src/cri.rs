//! Records of task logs: cutting a guest's bytes into lines and stamping them (`wsw_api::log`).
//!
//! Owns: the bytes of a record. Invariant: a record's text is at most `MAX_LINE` long; `P` records of a line are followed by its `F`.
//! Never: touches a file (`logs`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wsw_api::log::{MAX_LINE, Stream};

const SECONDS_PER_DAY: u64 = 86_400;

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
    pub fn push(&mut self, mut bytes: &[u8], now: SystemTime, out: &mut Vec<u8>) {
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
            record(out, now, self.stream, false, &self.partial);
            self.partial = rest;
        }
    }

    /// True when bytes wait for the rest of their line.
    pub const fn has_begun(&self) -> bool {
        !self.partial.is_empty()
    }

    /// The stream ended: what is left of a line without newline becomes a record.
    pub fn finish(&mut self, now: SystemTime, out: &mut Vec<u8>) {
        if !self.partial.is_empty() {
            let rest = std::mem::take(&mut self.partial);
            self.line(&rest, now, out);
        }
    }

    fn line(&self, mut text: &[u8], now: SystemTime, out: &mut Vec<u8>) {
        while text.len() > MAX_LINE {
            let (piece, rest) = text.split_at(MAX_LINE);
            record(out, now, self.stream, false, piece);
            text = rest;
        }
        record(out, now, self.stream, true, text);
    }
}

/// Appends one record.
pub fn record(out: &mut Vec<u8>, now: SystemTime, stream: Stream, full: bool, text: &[u8]) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    out.reserve(text.len() + 46);
    stamp(out, since);
    out.push(b' ');
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(if full { b" F " } else { b" P " });
    out.extend_from_slice(text);
    out.push(b'\n');
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

    fn text(out: &[u8]) -> String {
        String::from_utf8_lossy(out).into_owned()
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
            let mut out = Vec::new();
            record(&mut out, at(seconds), Stream::Stdout, true, b"x");
            assert_eq!(text(&out), format!("{want} stdout F x\n"));
        }
    }

    #[test]
    fn lines_are_joined_over_writes_and_the_last_one_needs_no_newline() {
        let (mut cutter, mut out) = (LineCutter::new(Stream::Stderr), Vec::new());
        cutter.push(b"one\ntw", at(0), &mut out);
        cutter.push(b"o\n\nthree", at(0), &mut out);
        let head = "1970-01-01T00:00:00.000000007Z stderr F ";
        assert_eq!(text(&out), format!("{head}one\n{head}two\n{head}\n"));
        out.clear();
        cutter.finish(at(0), &mut out);
        assert_eq!(text(&out), format!("{head}three\n"));
        out.clear();
        cutter.finish(at(0), &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn long_lines_are_cut_and_exact_ones_are_not() {
        let tags = |parts: &[&[u8]]| {
            let (mut cutter, mut out) = (LineCutter::new(Stream::Stdout), Vec::new());
            parts.iter().for_each(|part| cutter.push(part, at(0), &mut out));
            cutter.finish(at(0), &mut out);
            let lines = text(&out);
            lines.lines().map(|line| (line.as_bytes()[38], line.len() - 40)).collect::<Vec<_>>()
        };
        let exact = vec![b'a'; MAX_LINE];
        assert_eq!(tags(&[&exact, b"\n"]), [(b'F', MAX_LINE)]);
        assert_eq!(tags(&[&exact, b"b\n"]), [(b'P', MAX_LINE), (b'F', 1)]);
        assert_eq!(tags(&[&[exact.as_slice(), &exact, b"c\nd"].concat()]), [(b'P', MAX_LINE), (b'P', MAX_LINE), (b'F', 1), (b'F', 1)]);
    }
}
