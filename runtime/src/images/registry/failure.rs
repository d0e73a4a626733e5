//! Why a registry did not give what was asked, and docker's words for it.
//!
//! Owns: what may pass by itself, and the texts. Invariant: no text holds credentials or a signed address.

use super::http::shown;
use crate::error::Error;
use oci_distribution::errors::OciEnvelope;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use std::fmt;
use std::time::Duration;

/// Of a registry's own message so much is passed on.
const MAX_TEXT: usize = 512;

/// One failed request.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No answer, or one that broke off.
    Network(String),
    /// An answer that says no.
    Status { status: StatusCode, headers: Box<HeaderMap>, body: Vec<u8>, retry_after: Option<Duration>, asked: String },
    /// Not the registry's doing, or an answer that makes no sense.
    Own(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl Failure {
    /// True when the same request may succeed in a moment.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Status { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || (status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED)
            }
            Self::Own(_) => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Network(_) | Self::Own(_) => None,
        }
    }

    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Network(_) | Self::Own(_) => None,
        }
    }

    /// The same, told of another address: that of the registry, where a token server refused.
    pub(crate) fn asked_at(mut self, url: &Url) -> Self {
        if let Self::Status { asked, .. } = &mut self {
            *asked = format!("Get {:?}", shown(url));
        }
        self
    }

    /// The registry's code and message: `("manifest unknown", "manifest unknown")`.
    fn said(&self) -> Option<(String, String)> {
        let Self::Status { body, .. } = self else { return None };
        let envelope: OciEnvelope = serde_json::from_slice(body).ok()?;
        let first = envelope.errors.into_iter().next()?;
        let code = serde_json::to_value(&first.code).ok()?.as_str()?.to_lowercase().replace('_', " ");
        Some((code, cut(&first.message)))
    }

    fn is_of_blob(&self) -> bool {
        matches!(self, Self::Status { asked, .. } if asked.contains("/blobs/"))
    }

    /// What docker's daemon would say about a pull of `name` (as the user wrote it: `app`, `app:v1`).
    pub(crate) fn of_pull(self, repository: &str, name: &str) -> Error {
        let Some(status) = self.status() else { return self.into() };
        let said = self.said();
        let cause = match &said {
            Some((code, message)) if message.is_empty() => code.clone(),
            Some((code, message)) => format!("{code}: {message}"),
            None => format!("the registry answered {status}"),
        };
        match (status.as_u16(), said.as_ref().map(|(code, _)| code.as_str())) {
            (_, Some("name unknown")) => Error::NotThere(format!("repository {repository} not found: {cause}")),
            (401 | 403, _) | (_, Some("denied" | "unauthorized")) => {
                Error::NotThere(format!("pull access denied for {repository}, repository does not exist or may require 'docker login': {cause}"))
            }
            (404, _) if self.is_of_blob() => Error::NotThere(format!("{self}: blob unknown to registry")),
            (404, _) => Error::NotThere(format!("manifest for {name} not found: {}", if said.is_some() { cause } else { "manifest unknown".into() })),
            (429, _) => Error::Temporary(format!("toomanyrequests: the registry asks to wait before {name} is pulled again ({cause})")),
            _ => self.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(text) => f.write_str(text),
            Self::Own(error) => write!(f, "{error}"),
            Self::Status { status, asked, .. } => match self.said() {
                Some((code, message)) => write!(f, "{asked}: {code}: {message}"),
                None => write!(f, "{asked}: unexpected status {status}"),
            },
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Own(error) => error,
            other => Self::Temporary(other.to_string()),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}
