//! API versions: the prefix of the path, the range served, the headers of every answer.
//!
//! Owns: which versions wsw speaks. The CLI takes the lower of its own and `Api-Version`; without that header it falls back to 1.24
//! and refuses most flags, so the header is on every answer.

use crate::error::ApiError;
use http::{HeaderMap, HeaderValue};
use std::{fmt, str::FromStr};

/// Newest version served: all that 1.50 added to swarm objects is understood (docker 28.2).
pub const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 50 };
/// Oldest version served: the first one with swarm mode.
pub const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 24 };

/// `1.50`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

impl ApiVersion {
    /// True from 1.`minor` on.
    pub const fn has(self, minor: u32) -> bool {
        self.major > 1 || (self.major == 1 && self.minor >= minor)
    }
}

/// Splits `/v1.50/info` into `1.50` and `/info`; a path without a prefix is left as it is.
pub fn split(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
    let end = rest.find('/').unwrap_or(rest.len());
    let (version, tail) = rest.split_at(end);
    let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_version { (Some(version), tail) } else { (None, path) }
}

/// The version of a request; none asked for is the newest. The texts are moby's, tools match them.
pub fn check(asked: Option<&str>) -> Result<ApiVersion, ApiError> {
    let Some(text) = asked else { return Ok(NEWEST) };
    let version: ApiVersion = text.parse().map_err(|()| ApiError::invalid(format!("client version {text} is not a version number")))?;
    if version < OLDEST {
        let message = format!("client version {text} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a newer version");
        return Err(ApiError::invalid(message));
    }
    if version > NEWEST {
        return Err(ApiError::invalid(format!("client version {text} is too new. Maximum supported API version is {NEWEST}")));
    }
    Ok(version)
}

/// `Server`, `Api-Version` and `Ostype`: on every answer, refusals too.
pub fn add_headers(headers: &mut HeaderMap) {
    headers.insert("server", HeaderValue::from_static(concat!("wsw/", env!("CARGO_PKG_VERSION"), " (linux)")));
    headers.insert("api-version", HeaderValue::from_static("1.50"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_split_only_when_they_are_versions() {
        assert_eq!(split("/v1.41/services/web"), (Some("1.41"), "/services/web"));
        assert_eq!(split("/volumes"), (None, "/volumes"));
        assert_eq!(split("/v2"), (Some("2"), ""));
        assert_eq!(split("/version"), (None, "/version"));
    }

    #[test]
    fn the_range_is_kept_with_mobys_words() {
        assert_eq!(check(None).unwrap(), NEWEST);
        assert!(check(Some("1.24")).is_ok());
        assert_eq!(check(Some("1.99")).unwrap_err().message, "client version 1.99 is too new. Maximum supported API version is 1.50");
        assert!(check(Some("1.12")).unwrap_err().message.contains("is too old. Minimum supported API version is 1.24"));
        assert!(check(Some("1.5.0.0")).is_err());
    }

    #[test]
    fn the_header_names_the_newest_version() {
        let mut headers = HeaderMap::new();
        add_headers(&mut headers);
        assert_eq!(headers["api-version"], NEWEST.to_string().as_str());
    }
}
