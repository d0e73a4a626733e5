//! Times of the API (RFC 3339) and how docker shows them.

use std::time::Duration;

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::format_description};

pub fn parse(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// How long ago `text` was; the future and the unreadable count as now.
pub fn since(text: &str) -> Duration {
    parse(text).map_or(Duration::ZERO, |at| Duration::try_from(OffsetDateTime::now_utc() - at).unwrap_or_default())
}

/// How long ago this Unix time was.
pub fn since_unix(seconds: i64) -> Duration {
    OffsetDateTime::from_unix_timestamp(seconds).map_or(Duration::ZERO, |at| Duration::try_from(OffsetDateTime::now_utc() - at).unwrap_or_default())
}

/// Go's `time.Time.String()`: `2026-01-02 03:04:05.678 +0000 utc`-like, in the time's own zone.
pub fn go_string(text: &str) -> String {
    let Some(at) = parse(text) else { return text.to_owned() };
    let seconds = at.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]")).unwrap_or_default();
    format!("{seconds}{}{}", fraction(at), zone(at))
}

/// `time.Unix(seconds, 0).String()` in the local zone.
pub fn unix_string(seconds: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else { return seconds.to_string() };
    let at = local(at);
    format!("{}{}", at.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]")).unwrap_or_default(), zone(at))
}

/// RFC 3339 with nine digits of a second, in the local zone.
pub fn nanos_fixed(nanos: i128) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else { return nanos.to_string() };
    let at = local(at);
    let body = at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]")).unwrap_or_default();
    if at.offset().is_utc() {
        return body + "Z";
    }
    body + &at.format(format_description!("[offset_hour sign:mandatory]:[offset_minute]")).unwrap_or_default()
}

/// RFC 3339 in the local zone.
pub fn rfc3339_local(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|at| local(at).format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

fn local(at: OffsetDateTime) -> OffsetDateTime {
    // Without the zone database at hand the offset comes from the environment's clock; UTC where it cannot be known.
    at.to_offset(UtcOffset::local_offset_at(at).unwrap_or(UtcOffset::UTC))
}

fn fraction(at: OffsetDateTime) -> String {
    let digits = format!("{:09}", at.nanosecond());
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() { String::new() } else { format!(".{digits}") }
}

fn zone(at: OffsetDateTime) -> String {
    if at.offset().is_utc() {
        return " +0000 UTC".into();
    }
    let (hours, minutes, _) = at.offset().as_hms();
    let sign = if hours < 0 || minutes < 0 { '-' } else { '+' };
    let text = format!("{sign}{:02}{:02}", hours.abs(), minutes.abs());
    format!(" {text} {text}")
}
