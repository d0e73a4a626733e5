//! A registry's credentials on their way: from a client through the log to the nodes that pull.
//!
//! Owns: the wrapper that keeps them out of texts. Invariant: printing one says nothing of it. What is inside is the client's own
//! `X-Registry-Auth` (base64 of JSON); only the runtime looks into it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Longest one: tokens of a few KiB are common, more is a mistake.
pub const MAX_REGISTRY_AUTH: usize = 64 * 1024;

/// `X-Registry-Auth` as a client sent it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAuth(Arc<str>);

impl RegistryAuth {
    /// Takes the header's text as it is.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for whoever speaks to a registry.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryAuth(hidden)")
    }
}

/// What a service's tasks pull with: an object of its own, so that it can change without a new template and is in no spec that anybody reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAuth {
    pub current: Option<RegistryAuth>,
    /// What the previous spec was pulled with.
    pub previous: Option<RegistryAuth>,
}

impl ServiceAuth {
    /// The credentials after a write that brings `given`, or says from where to take them.
    pub fn next(&self, given: Option<&RegistryAuth>, from: AuthFrom) -> Self {
        match (given, from) {
            (Some(given), _) => Self { current: Some(given.clone()), previous: self.current.clone() },
            (None, AuthFrom::Spec) => Self { current: self.current.clone(), previous: self.current.clone() },
            (None, AuthFrom::PreviousSpec) => Self { current: self.previous.clone(), previous: self.current.clone() },
        }
    }
}

/// Where an update takes the credentials from when it brings none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthFrom {
    #[default]
    Spec,
    PreviousSpec,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_replaces_or_takes_back() {
        let auth = |text: &str| Some(RegistryAuth::new(text));
        let first = ServiceAuth::default().next(auth("a").as_ref(), AuthFrom::Spec);
        let second = first.next(auth("b").as_ref(), AuthFrom::Spec);
        assert_eq!((second.current.clone(), second.previous.clone()), (auth("b"), auth("a")));
        assert_eq!(second.next(None, AuthFrom::Spec).current, auth("b"));
        assert_eq!(second.next(None, AuthFrom::PreviousSpec).current, auth("a"));
    }

    #[test]
    fn printing_credentials_says_nothing_of_them() {
        let auth = RegistryAuth::new("c2VjcmV0");
        assert_eq!(format!("{:?}", Some(&auth)), "Some(RegistryAuth(hidden))");
        assert_eq!(auth.reveal(), "c2VjcmV0");
    }
}
