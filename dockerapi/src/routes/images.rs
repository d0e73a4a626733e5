//! `/images` and `/distribution`: this node's store.

use crate::backend::Image;
use crate::call::{self, Call};
use crate::convert::image;
use crate::error::{Answer, ApiError};
use crate::model::image::Progress;
use futures_util::StreamExt;
use http::{StatusCode, header};
use wsw_api::{Class, Error};

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

/// `GET /distribution/{name}/json`: local images only; for others the CLI warns and goes on without a digest.
pub async fn distribution(call: Call) -> Answer {
    call::ok(&image::distribution(&find(&call).await?))
}

/// `POST /images/load`: the body is streamed to the store, then each name is a line of progress.
pub async fn load(mut call: Call) -> Answer {
    let body = call.stream().map(|piece| piece.map_err(std::io::Error::other));
    let names = call.backend.image_load(body.boxed()).await?;
    let mut lines = Vec::new();
    for name in names {
        let word = if name.starts_with("sha256:") { "Loaded image ID" } else { "Loaded image" };
        let line = Progress { stream: Some(format!("{word}: {name}\n")) };
        serde_json::to_writer(&mut lines, &line).map_err(|error| Error::internal(error.to_string()))?;
        lines.extend_from_slice(b"\r\n");
    }
    Ok(axum::response::IntoResponse::into_response((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], lines)))
}

/// `DELETE /images/{name}`.
pub async fn remove(call: Call) -> Answer {
    let name = find(&call).await.map(|_| call.name.clone())?;
    let done = call.backend.image_remove(&name, call.query.flag("force")).await?;
    call::ok(&image::removed(&done))
}

/// `POST /images/create`: a pull; the answer names the image.
pub async fn create(call: Call) -> Answer {
    let name = call.query.get("fromImage").unwrap_or_default();
    Err(ApiError::missing(&format!("pulling an image ({name:?})"), "load one with `docker load`, or give `wsw service create` the path of a .wasm file"))
}

#[cfg(test)]
mod tests {
    use super::is_reference;

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
