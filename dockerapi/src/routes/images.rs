//! `/images`: this node's store. What moves images in and out is in [`super::transfers`].

use crate::call::{self, Call};
use crate::convert::image;
use crate::error::{Answer, ApiError};
use crate::filters::Filters;
use crate::image_store::{Image, Prune};
use axum::response::IntoResponse;
use http::StatusCode;
use wsw_api::time::SECOND;
use wsw_api::{Class, Time};

const FILTERS: &[&str] = &["dangling", "label", "reference"];

/// `GET /images/json`.
pub async fn list(call: Call) -> Answer {
    let filters = call.query.filters(FILTERS)?;
    let dangling = filters.bool("dangling")?;
    let images = call.backend.images().await?;
    let wanted = |found: &&Image| {
        dangling.is_none_or(|dangling| dangling == found.tags.is_empty())
            && filters.labels("label", &found.labels)
            && filters.any("reference", |pattern| found.tags.iter().any(|tag| is_reference(pattern, tag)))
    };
    let lines: Vec<_> = images.iter().filter(wanted).map(|found| image::summary(found, call.version.minor)).collect();
    call::ok(&lines)
}

/// `app`, `app:v1`, `app*`: a name without tag means all its tags, a star any characters but a slash.
fn is_reference(pattern: &str, tag: &str) -> bool {
    let name = tag.rsplit_once(':').map_or(tag, |(name, _)| name);
    glob(pattern.as_bytes(), tag.as_bytes()) || glob(pattern.as_bytes(), name.as_bytes())
}

/// Star and question mark, by the usual backtracking to the last star: linear memory, at most pattern × text steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') if text.get(t) != Some(&b'/') => (p, t) = (p + 1, t + 1),
            Some(byte) if text.get(t) == Some(byte) => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) if text.get(from) != Some(&b'/') => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// The image, with moby's words when there is none.
async fn find(call: &Call) -> Result<Image, ApiError> {
    call.backend.image(&call.name).await.map_err(|error| match error.class {
        Class::NotFound => ApiError::not_found(format!("No such image: {}", image::with_tag(&call.name))),
        _ => error.into(),
    })
}

/// `GET /images/{name}/json`.
pub async fn inspect(call: Call) -> Answer {
    call::ok(&image::inspect(&find(&call).await?, call.version.minor))
}

/// `DELETE /images/{name}`.
pub async fn remove(call: Call) -> Answer {
    let name = find(&call).await.map(|_| call.name.clone())?;
    let done = call.backend.image_remove(&name, call.query.flag("force")).await?;
    call::ok(&image::removed(&done))
}

/// `POST /images/{name}/tag?repo&tag`.
pub async fn tag(call: Call) -> Answer {
    let repository = call.query.get("repo").unwrap_or_default();
    let name = match call.query.get("tag").unwrap_or_default() {
        "" => repository.to_owned(),
        tag => format!("{repository}:{tag}"),
    };
    find(&call).await?;
    call.backend.image_tag(&call.name, &name).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// `GET /images/{name}/history`.
pub async fn history(call: Call) -> Answer {
    find(&call).await?;
    let steps = call.backend.image_history(&call.name).await?;
    call::ok(&steps.iter().map(image::step).collect::<Vec<_>>())
}

/// The moment that `until` names.
fn until(filters: &Filters, now: Time) -> Result<Option<Time>, ApiError> {
    let text = filters.get("until").next();
    text.map(|text| moment(text, now).ok_or_else(|| filters.bad("until", text))).transpose()
}

/// `POST /images/prune`.
pub async fn prune(call: Call) -> Answer {
    let filters = call.query.filters(&["dangling", "until", "label", "label!"])?;
    let until = until(&filters, call.backend.local().now)?;
    let list = |key: &str| filters.get(key).map(str::to_owned).collect();
    let prune = Prune { all: !filters.bool("dangling")?.unwrap_or(true), until, labels: list("label"), not_labels: list("label!") };
    let (done, freed) = call.backend.image_prune(prune).await?;
    call.backend.pruned(wsw_api::event::Kind::Image, freed);
    call::ok(&image::pruned(&done, freed))
}

/// `POST /build/prune`: nothing is built here, but code is compiled, and kept until there is too much of it.
pub async fn prune_code(call: Call) -> Answer {
    let filters = call.query.filters(&["until", "label", "label!"])?;
    let until = until(&filters, call.backend.local().now)?;
    // Code has no labels.
    let gone = if filters.get("label").next().is_some() { Vec::new() } else { call.backend.image_code_prune(until).await? };
    call::ok(&image::code_pruned(&gone))
}

/// A moment in the past: Unix seconds, RFC 3339, or how long ago (`24h`).
fn moment(text: &str, now: Time) -> Option<Time> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Time(seconds.saturating_mul(SECOND)));
    }
    if let Ok(at) = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339) {
        return u64::try_from(at.unix_timestamp_nanos()).ok().map(Time);
    }
    ago(text).map(|nanos| Time(now.0.saturating_sub(nanos)))
}

/// Go's durations: `1h30m`, `1.5h`.
fn ago(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0_f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest.get(..digits)?.parse().ok()?;
        let unit = rest.get(digits..)?;
        let (scale, length) = match unit {
            unit if unit.starts_with("ms") => (1e6, 2),
            unit if unit.starts_with('h') => (3_600e9, 1),
            unit if unit.starts_with('m') => (60e9, 1),
            unit if unit.starts_with('s') => (1e9, 1),
            _ => return None,
        };
        sum += value * scale;
        rest = unit.get(length..)?;
    }
    (!text.is_empty() && sum.is_finite()).then_some(sum as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_three_ways() {
        let now = Time(10_000 * SECOND);
        assert_eq!(moment("77", now), Some(Time(77 * SECOND)));
        assert_eq!(moment("1h30m", now), Some(Time(4_600 * SECOND)));
        assert_eq!(moment("1970-01-01T00:01:00Z", now), Some(Time(60 * SECOND)));
        for wrong in ["", "yesterday", "1", "1x", "h", "1h-"].into_iter().filter(|text| *text != "1") {
            assert_eq!(moment(wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn references_match_names_tags_and_stars() {
        for pattern in ["app", "app:v1", "a*", "app:*", "*pp", "ap?"] {
            assert!(is_reference(pattern, "app:v1"), "{pattern}");
        }
        for pattern in ["ap", "app:v2", "*/app", "", "app?"] {
            assert!(!is_reference(pattern, "app:v1"), "{pattern}");
        }
        assert!(is_reference("lib/*", "lib/app:v1") && !is_reference("*", "lib/app:v1") && is_reference("*/*", "lib/app:v1"));
    }
}
