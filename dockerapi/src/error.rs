//! Error class → HTTP status, and the one shape in which docker reads errors: `{"message": …}`.
//!
//! Owns: the mapping; no other file names a status for a failure. `docker` prints anything that is not exactly `application/json`
//! verbatim, so every refusal, also of an unknown path or a panic, leaves through here.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use wsw_api::{Class, Error};

/// A refusal on its way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

/// What a handler answers.
pub type Answer = Result<Response, ApiError>;

/// The HTTP status of an error class (moby's `httpstatus`).
pub const fn status(class: Class) -> StatusCode {
    match class {
        Class::InvalidArgument => StatusCode::BAD_REQUEST,
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::Conflict => StatusCode::CONFLICT,
        Class::Unauthenticated => StatusCode::UNAUTHORIZED,
        Class::Forbidden => StatusCode::FORBIDDEN,
        Class::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ApiError {
    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::invalid(message).into()
    }
    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Error::not_found(message).into()
    }
    /// A known route or feature that wsw does not have: `what` is named, `why` says what is missing.
    pub fn missing(what: &str, why: &str) -> Self {
        Error::unimplemented(format!("{what} is not implemented by wsw: {why}")).into()
    }
    /// A body above the bound; the only refusal without a class of its own.
    pub fn too_large(limit: usize) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, message: format!("request body is larger than the limit of {limit} bytes") }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self { status: status(error.class), message: error.message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = format!("{}\n", serde_json::json!({ "message": self.message }));
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
