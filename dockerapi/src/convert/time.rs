//! Moments and lengths of time as Docker writes them.
//!
//! Owns: RFC 3339 with Go's rules, and "3 minutes" as `docker ps` says it. Never: reads a clock.

use std::time::Duration;

use time::OffsetDateTime;
use wsw_api::Time;

/// Go's zero time: "never".
pub const ZERO: &str = "0001-01-01T00:00:00Z";

fn date(at: Time) -> OffsetDateTime {
    // u64 nanoseconds end in the year 2554, within the type's range
    OffsetDateTime::from_unix_timestamp_nanos(at.0.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn seconds(at: Time) -> String {
    let d = date(at);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", d.year(), u8::from(d.month()), d.day(), d.hour(), d.minute(), d.second())
}

/// `RFC3339Nano`: no trailing zeros in the fraction. Time zero is Go's zero time.
pub fn rfc3339(at: Time) -> String {
    if at == Time(0) {
        return ZERO.to_owned();
    }
    let nanos = at.0 % wsw_api::time::SECOND;
    let fraction = if nanos == 0 { String::new() } else { format!(".{}", format!("{nanos:09}").trim_end_matches('0')) };
    format!("{}{fraction}Z", seconds(at))
}

/// `RFC3339`: whole seconds.
pub fn rfc3339_seconds(at: Time) -> String {
    format!("{}Z", seconds(at))
}

/// Always nine digits: the prefix of log lines.
pub fn fixed(at: Time) -> String {
    format!("{}.{:09}Z", seconds(at), at.0 % wsw_api::time::SECOND)
}

/// Go's lengths of time: `1h30m`, `24h`, `500ms`.
pub fn length(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] =
        [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", wsw_api::time::SECOND), ("m", 60 * wsw_api::time::SECOND), ("h", 3_600 * wsw_api::time::SECOND)];
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let word = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(word);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*nanos)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A length of time in words, as Docker's `units.HumanDuration`: "3 minutes", "About an hour".
pub fn human(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".into(),
        (1, ..) => "1 second".into(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".into(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".into(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_go_does() {
        assert_eq!(rfc3339(Time(1_700_000_000_120_000_000)), "2023-11-14T22:13:20.12Z");
        assert_eq!(rfc3339(Time(1_700_000_000_000_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(Time(0)), ZERO);
        assert_eq!(fixed(Time(1)), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(rfc3339(Time(u64::MAX)), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn lengths_are_said_as_docker_does() {
        let said: Vec<String> =
            [0, 1, 59, 60, 119, 120, 3599, 3600, 5399, 5400, 7 * 86400, 20 * 86400, 90 * 86400].iter().map(|s| human(Duration::from_secs(*s))).collect();
        assert_eq!(
            said.join(", "),
            "Less than a second, 1 second, 59 seconds, About a minute, About a minute, 2 minutes, 59 minutes, About an hour, About an hour, 2 hours, 7 days, 2 weeks, 3 months"
        );
    }
}
