//! One request as a handler sees it: name from the path, query, version, body.
//!
//! Owns: reading of query parameters and bodies, with their bounds and texts. Never: routes.

use crate::backend::Backend;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::negotiate::ApiVersion;
use axum::body::{Body, BodyDataStream};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::OnUpgrade;
use serde::{Serialize, de::DeserializeOwned};
use std::sync::{Arc, Mutex, PoisonError};
use wsw_api::Time;

/// Bound on a JSON body: the largest spec that fits one Raft entry (1 MiB).
pub const MAX_JSON_BYTES: usize = 1024 * 1024;

/// One request.
pub struct Call {
    pub backend: Arc<dyn Backend>,
    pub version: ApiVersion,
    /// The variable part of the path, decoded; empty when the route has none.
    pub name: String,
    pub query: Query,
    pub headers: HeaderMap,
    /// In a mutex that is never locked: it makes the call `Sync`, so that handlers may hold a reference while they wait.
    pub body: Mutex<Body>,
    /// The connection, for a route that takes it over.
    pub upgrade: Option<OnUpgrade>,
}

/// Query parameters in the order given.
#[derive(Debug, Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Go's reading of a flag (moby's `BoolValue`): anything but these words is true.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// `filters`, limited to the keys that the route knows.
    pub fn filters(&self, known: &[&str]) -> Result<Filters, ApiError> {
        Filters::parse(self.get("filters"), known)
    }

    /// The version of the object that an update refers to.
    pub fn version(&self, what: &str) -> Result<u64, ApiError> {
        let text = self.get("version").unwrap_or_default();
        text.parse().map_err(|_| ApiError::invalid(format!("invalid {what} version '{text}': the version of the object to update is needed")))
    }

    /// A moment as docker's CLI sends it: Unix seconds with up to nine digits after the point.
    pub fn time(&self, name: &str) -> Result<Option<Time>, ApiError> {
        let text = self.get(name).unwrap_or_default();
        if text.is_empty() || text == "0" {
            return Ok(None);
        }
        moment(text).map(Some).ok_or_else(|| ApiError::invalid(format!("invalid value for \"{name}\": {text:?}: use Unix seconds, such as 1700000000.5")))
    }
}

/// Unix seconds with up to nine digits after the point.
pub fn moment(text: &str) -> Option<Time> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction));
    let digits = !seconds.is_empty() && [seconds, nanos.as_str()].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let (seconds, nanos) = seconds.parse::<u64>().ok().zip(nanos.parse::<u64>().ok()).filter(|_| digits)?;
    Some(Time(seconds.saturating_mul(wsw_api::time::SECOND).saturating_add(nanos)))
}

impl Call {
    /// The JSON body; a wrong type is refused with the field's path, a body above the bound without reading it all.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        let bytes = self.bytes().await?;
        self.check_content_type()?;
        if bytes.is_empty() {
            return Err(ApiError::invalid("invalid JSON: got EOF while reading request body"));
        }
        let mut input = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut input).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.into_inner();
            let place = if inner.is_data() && path != "." { format!("{path}: ") } else { String::new() };
            ApiError::invalid(format!("invalid JSON: {place}{inner}"))
        })?;
        input.end().map_err(|_| ApiError::invalid("unexpected content after JSON"))?;
        Ok(value)
    }

    fn take_body(&mut self) -> Body {
        std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    async fn bytes(&mut self) -> Result<bytes::Bytes, ApiError> {
        let body = self.take_body();
        if body.size_hint().lower() > MAX_JSON_BYTES as u64 {
            return Err(ApiError::too_large(MAX_JSON_BYTES));
        }
        match Limited::new(body, MAX_JSON_BYTES).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::too_large(MAX_JSON_BYTES)),
            Err(error) => Err(ApiError::invalid(format!("request body could not be read: {error}"))),
        }
    }

    fn check_content_type(&self) -> Result<(), ApiError> {
        let given = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = given.split(';').next().unwrap_or_default().trim();
        if kind.is_empty() || kind.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(ApiError::invalid(format!("unsupported Content-Type header ({given}): must be 'application/json'")))
    }

    /// The body as a stream, without bound.
    pub fn stream(&mut self) -> BodyDataStream {
        self.take_body().into_data_stream()
    }
}

/// A JSON answer.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, ApiError> {
    let mut body = serde_json::to_vec(value).map_err(|error| wsw_api::Error::internal(format!("answer could not be encoded: {error}")))?;
    body.push(b'\n');
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// 200 with JSON.
pub fn ok(value: &impl Serialize) -> Result<Response, ApiError> {
    json(StatusCode::OK, value)
}

/// 200 without a body.
pub fn empty() -> Result<Response, ApiError> {
    Ok(StatusCode::OK.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, value: &str) -> Query {
        Query(vec![(name.into(), value.into())])
    }

    #[test]
    fn moments_are_unix_seconds() {
        assert_eq!(query("since", "1700000000.5").time("since").unwrap(), Some(Time(1_700_000_000_500_000_000)));
        assert_eq!(query("since", "1700000000.000000001").time("since").unwrap(), Some(Time(1_700_000_000_000_000_001)));
        assert_eq!(query("since", "0").time("since").unwrap(), None);
        for bad in ["yesterday", "-1", "1.x", ".", "1.é23456789"] {
            assert!(query("since", bad).time("since").unwrap_err().message.contains("since"), "{bad}");
        }
    }

    #[test]
    fn flags_are_read_as_go_does() {
        assert!(query("force", "1").flag("force") && query("force", "True").flag("force"));
        assert!(!query("force", "false").flag("force") && !query("force", "").flag("force") && !query("x", "1").flag("force"));
    }
}
