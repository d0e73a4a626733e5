//! `events`.

use std::collections::BTreeMap;

use ::time::OffsetDateTime;
use http::Method;
use serde_json::Value;

use crate::cli::{
    Session,
    args::{Matches, values},
    client::{filter_query, given_filters},
    errors::Error,
    format::{shape, time},
    output,
    stream::Reader,
    task::text,
    template::{Template, Val},
};

const BAD_TEMPLATE: u8 = 64;

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let template = match matches.text_or("format", "") {
        "" => None,
        "json" => Some(Template::parse("", "{{json .}}")),
        given => Some(Template::parse("", given)),
    };
    let refused = |why: String| Error::Status { code: BAD_TEMPLATE, text: format!("Error parsing format: {why}") };
    let template = template.transpose().map_err(refused)?;
    if let Some(template) = &template {
        // A field that does not exist is better known before the first event.
        let checked = template.render(&shape::typed("events.Message", &Val::Nil));
        checked.map_err(|why| refused(why.replace("events.Message", "*events.Message")))?;
    }
    let mut query = Vec::new();
    for name in ["since", "until"] {
        if let Some(given) = matches.text(name).filter(|given| !given.is_empty()) {
            query.push((name, timestamp(given).map_err(Error::Plain)?));
        }
    }
    query.extend(filter_query(&given_filters(matches.list("filter"))));
    let answer = session.client.stream(Method::GET, "/events", &query, None).await?;
    let mut events = Reader::new(answer.into_body());
    let Some(template) = template else {
        while let Some(event) = events.json::<Value>().await? {
            output::line(&plain(&event))?;
        }
        return Ok(());
    };
    while let Some(event) = events.json::<Val>().await? {
        output::line(&template.render(&shape::typed("events.Message", &event)).map_err(Error::Plain)?)?;
    }
    Ok(())
}

/// Seconds (and nanoseconds, but for a duration) since 1970 from a Unix time, an RFC 3339 time or date, or "how long ago" as a duration.
pub fn timestamp(text: &str) -> Result<String, String> {
    if text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())) {
        return Ok(text.to_owned());
    }
    if let Ok(nanos) = values::parse_duration(text) {
        // docker's: whole seconds.
        return Ok((OffsetDateTime::now_utc() - ::time::Duration::nanoseconds(nanos)).unix_timestamp().to_string());
    }
    let show = |at: OffsetDateTime| format!("{}.{:09}", at.unix_timestamp(), at.nanosecond());
    // A date alone, or a time without seconds or zone: what is missing is zero, in UTC.
    let (date, clock) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let zone_at = clock.find(['Z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let clock = match clock.matches(':').count() {
        0 => format!("{clock}:00:00"),
        1 => format!("{clock}:00"),
        _ => clock.to_owned(),
    };
    let zone = if zone.is_empty() { "Z" } else { zone };
    time::parse(&format!("{date}T{clock}{zone}"))
        .map(show)
        .ok_or_else(|| out_of_range(text).unwrap_or_else(|| format!("failed to parse value as time or duration: {text:?}")))
}

/// Which part of a date or time is too large, in Go's words.
fn out_of_range(text: &str) -> Option<String> {
    let numbers: Vec<u32> = text.trim_end_matches('Z').split(['-', 'T', ':']).map_while(|part| part.parse().ok()).collect();
    let bounds = [("year", 0, 9_999), ("month", 1, 12), ("day", 1, 31), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59)];
    let (part, ..) = bounds.into_iter().zip(&numbers).find(|((_, low, high), number)| *number < low || *number > high)?.0;
    (numbers.len() >= 3).then(|| format!("parsing time {text:?}: {part} out of range"))
}

fn plain(event: &Value) -> String {
    let number = |key: &str| event[key].as_i64().unwrap_or(0);
    let when = match (number("timeNano"), number("time")) {
        (0, 0) => String::new(),
        (0, seconds) => time::nanos_fixed(i128::from(seconds) * 1_000_000_000) + " ",
        (nanos, _) => time::nanos_fixed(nanos.into()) + " ",
    };
    let attributes: BTreeMap<&str, &str> =
        event["Actor"]["Attributes"].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value))).collect();
    let listed: Vec<_> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let behind = if listed.is_empty() { String::new() } else { format!(" ({})", listed.join(", ")) };
    format!("{when}{} {} {}{behind}", text(&event["Type"]), text(&event["Action"]), text(&event["Actor"]["ID"]))
}
