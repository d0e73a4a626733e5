//! Errors that cross a crate: one class each, and a text for the user.
//!
//! Owns: the classes (moby's `errdefs`). `dockerapi` maps a class to an HTTP status in one place.
//! Invariant: `message` is for the user: lower case, no full stop, names the field and says what to do.

use serde::{Deserialize, Serialize};

/// What kind of refusal an error is; decides the HTTP status and whether a caller may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The request itself is wrong (400).
    InvalidArgument,
    /// The named object does not exist (404).
    NotFound,
    /// The object exists already, or changed in the meantime (409).
    Conflict,
    /// The caller may not do this (403).
    Forbidden,
    /// Known, but wsw does not do it (501).
    Unimplemented,
    /// Not now: no leader, not part of a swarm, outcome unknown (503). May be tried again.
    Unavailable,
    /// A fault of ours (500).
    Internal,
    /// What proves a right is wrong (401).
    Unauthenticated,
}

/// An error with its class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    pub class: Class,
    pub message: String,
}

/// `std::result::Result` with our error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($name:ident $class:ident;)*) => {$(
        #[doc = concat!("An error of class `", stringify!($class), "`.")]
        pub fn $name(message: impl Into<String>) -> Self { Self { class: Class::$class, message: message.into() } }
    )*};
}

impl Error {
    constructors! {
        invalid InvalidArgument;
        not_found NotFound;
        conflict Conflict;
        forbidden Forbidden;
        unimplemented Unimplemented;
        unavailable Unavailable;
        internal Internal;
        unauthenticated Unauthenticated;
    }

    /// True when the same request may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        self.class == Class::Unavailable
    }
}
