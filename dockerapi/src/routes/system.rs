//! `/_ping`, `/version`, `/info`, `/system/df`.

use crate::backend::Image;
use crate::call::{self, Call};
use crate::convert::{image, system};
use crate::error::{Answer, ApiError};
use crate::model::image::ImageSummary;
use crate::model::system::DiskUsage;
use axum::response::IntoResponse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderName, HeaderValue, StatusCode};

/// The CLI's first request: what the daemon is, in headers. Never answered from a cache.
pub async fn ping(call: Call) -> Answer {
    let mut response = (StatusCode::OK, "OK").into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (PRAGMA, "no-cache"),
        (HeaderName::from_static("docker-experimental"), "false"),
        (HeaderName::from_static("builder-version"), "2"),
        (HeaderName::from_static("swarm"), system::ping_header(&call.backend.local().swarm)),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// `GET /version`.
pub async fn version(call: Call) -> Answer {
    call::ok(&system::version(&call.backend.local()))
}

/// `GET /info`: works on every node, in or out of a swarm.
pub async fn info(call: Call) -> Answer {
    let store = call.backend.view().await.ok();
    call::ok(&system::info(&call.backend.local(), store.as_ref()))
}

/// Kinds of `?type=`.
const USERS_OF_DISK: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// `GET /system/df`: all kinds, or those that `type` names.
pub async fn disk_usage(call: Call) -> Answer {
    let named: Vec<&str> = call.query.0.iter().filter(|(key, _)| key == "type").map(|(_, value)| value.as_str()).collect();
    if let Some(unknown) = named.iter().find(|kind| !USERS_OF_DISK.contains(kind)) {
        return Err(ApiError::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| named.is_empty() || named.contains(&kind);
    let images = call.backend.images().await?;
    let containers = super::containers::summaries(&call, &images, true).await;
    let users = |digest: &str| containers.iter().filter(|container| container.image_id.as_deref() == Some(digest)).count() as i64;
    // Sizes of single layers are not known: an image shares nothing, or an unknown part.
    let shares =
        |found: &Image| images.iter().filter(|other| other.digest != found.digest).any(|other| other.layers.iter().any(|layer| found.layers.contains(layer)));
    let used = |found: &Image| ImageSummary {
        containers: Some(users(&found.digest)),
        shared_size: Some(if shares(found) { -1 } else { 0 }),
        ..image::summary(found, call.version.minor)
    };
    call::ok(&DiskUsage {
        layers_size: Some(images.iter().map(|image| image.size).sum()),
        images: wanted("image").then(|| images.iter().map(used).collect()),
        volumes: if wanted("volume") { Some(super::volumes::measured(&call).await) } else { None },
        build_cache: wanted("build-cache").then(|| call.backend.image_code().iter().map(image::code).collect()),
        containers: if wanted("container") { Some(containers) } else { None },
    })
}
