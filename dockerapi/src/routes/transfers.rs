//! Images on the move: load, save, pull, push; what a registry says of a name; logging in.
//!
//! Owns: docker's progress streams (a failure after the first line is a line, too), `X-Registry-Auth` on its way in.

use crate::call::{self, Call};
use crate::convert::image;
use crate::drain;
use crate::error::{Answer, ApiError};
use crate::image_store::{Progress, ProgressStream};
use crate::model::image::{ErrorLine, Line, LineDetail};
use crate::model::system::LoginAnswer;
use axum::body::Body;
use axum::response::IntoResponse;
use base64::Engine;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use wsw_api::registry::{MAX_REGISTRY_AUTH, RegistryAuth};

const AUTH_HEADER: &str = "x-registry-auth";

/// The credentials that a request brings; the empty ones (`{}`) are none.
pub fn auth(headers: &HeaderMap) -> Result<Option<RegistryAuth>, ApiError> {
    let Some(value) = headers.get(AUTH_HEADER) else { return Ok(None) };
    let text = value.to_str().map_err(|_| ApiError::invalid("invalid X-Registry-Auth header: it is not base64"))?.trim();
    if text.len() > MAX_REGISTRY_AUTH {
        return Err(ApiError::invalid(format!("invalid X-Registry-Auth header: longer than {MAX_REGISTRY_AUTH} bytes")));
    }
    let empty = ["", "e30", "e30=", "bnVsbA=="].contains(&text);
    Ok((!empty).then(|| RegistryAuth::new(text)))
}

/// `platform`: JSON of a platform, or `os/arch`.
fn platform(call: &Call, parameter: &str) -> Option<String> {
    let text = call.query.get(parameter).filter(|text| !text.is_empty())?;
    let parsed: Option<serde_json::Value> = serde_json::from_str(text).ok().filter(serde_json::Value::is_object);
    Some(match parsed {
        Some(parsed) => {
            let parts = ["os", "architecture", "variant"].iter().filter_map(|key| parsed.get(key)?.as_str());
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
        }
        None => text.to_owned(),
    })
}

fn json_lines(lines: impl stream::Stream<Item = Bytes> + Send + 'static) -> Answer {
    let body = Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>));
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn encoded(line: &impl serde::Serialize) -> Bytes {
    // These shapes hold texts and numbers: encoding them cannot fail.
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}

fn line(progress: Progress) -> Bytes {
    let detail = match progress.figures {
        Some((current, total)) => Some(LineDetail { current: Some(current), total: Some(total) }),
        None => progress.layer.then(LineDetail::default),
    };
    encoded(&Line { status: Some(progress.status), detail, id: (!progress.id.is_empty()).then_some(progress.id) })
}

fn progress(lines: ProgressStream) -> Answer {
    json_lines(lines.map(|item| match item {
        Ok(progress) => line(progress),
        Err(error) => encoded(&ErrorLine::of(error.message)),
    }))
}

/// `POST /images/load`: the body is streamed to the store, then each name is a line of progress.
pub async fn load(mut call: Call) -> Answer {
    let platform = platform(&call, "platform");
    let (body, rest) = drain::lend(call.stream());
    let loaded = call.backend.image_load(body.map(|piece| piece.map_err(std::io::Error::other)).boxed(), platform).await;
    if loaded.is_err() {
        drain::drain(rest).await;
    }
    let names = loaded?;
    let said = names.into_iter().map(|name| {
        let word = if name.starts_with("sha256:") { "Loaded image ID" } else { "Loaded image" };
        encoded(&crate::model::image::Progress { stream: Some(format!("{word}: {name}\n")) })
    });
    json_lines(stream::iter(said.collect::<Vec<_>>()))
}

/// `POST /images/create?fromImage&tag&platform`: a pull.
pub async fn create(call: Call) -> Answer {
    let name = call.query.get("fromImage").unwrap_or_default();
    if name.is_empty() {
        let source = call.query.get("fromSrc").unwrap_or_default();
        return Err(ApiError::missing(&format!("making an image from a file system ({source:?})"), "load an archive with `docker load`"));
    }
    let reference = match call.query.get("tag").unwrap_or_default() {
        "" => name.to_owned(),
        digest if digest.starts_with("sha256:") => format!("{name}@{digest}"),
        tag => format!("{name}:{tag}"),
    };
    progress(call.backend.image_pull(reference, platform(&call, "platform"), auth(&call.headers)?).await?)
}

/// `POST /images/{name}/push?tag`.
pub async fn push(call: Call) -> Answer {
    let reference = match call.query.get("tag").unwrap_or_default() {
        "" => call.name.clone(),
        tag => format!("{}:{tag}", call.name),
    };
    progress(call.backend.image_push(reference, auth(&call.headers)?).await?)
}

async fn archive(call: &Call, names: Vec<String>) -> Answer {
    let parameter = if call.query.get("platform").is_some() { "platform" } else { "platforms" };
    let bytes = call.backend.image_save(names, platform(call, parameter)).await?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(bytes)).into_response())
}

/// `GET /images/{name}/get`.
pub async fn save(call: Call) -> Answer {
    archive(&call, vec![call.name.clone()]).await
}

/// `GET /images/get?names=…&names=…`.
pub async fn save_all(call: Call) -> Answer {
    let names = call.query.0.iter().filter(|(key, _)| key == "names").flat_map(|(_, value)| value.split(',')).map(str::to_owned);
    let names = names.filter(|name| !name.is_empty()).collect();
    archive(&call, names).await
}

/// `GET /distribution/{name}/json`: what the CLI pins a service's image to.
pub async fn distribution(call: Call) -> Answer {
    call::ok(&image::distribution(&call.backend.image_look(&call.name, auth(&call.headers)?).await?))
}

/// `POST /auth`: the body is what `X-Registry-Auth` would hold.
pub async fn login(mut call: Call) -> Answer {
    let given: serde_json::Value = call.json().await?;
    if !given.is_object() {
        return Err(ApiError::invalid("invalid JSON: want an object with username, password and serveraddress"));
    }
    let text = base64::engine::general_purpose::URL_SAFE.encode(given.to_string());
    call.backend.registry_login(RegistryAuth::new(&text)).await?;
    call::ok(&LoginAnswer { status: Some("Login Succeeded"), identity_token: Some("") })
}
