//! The key that unlocks the managers of a locked swarm.
//!
//! Owns: its text form (`SWMKEY-1-…`). Invariant: it is printed by [`UnlockKey::text`] alone, never by `Debug` or in an error.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What every such key begins with.
const PREFIX: &str = "SWMKEY-1-";

/// A key as its users have it. Whether it is a whole one, is seen when it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockKey(String);

impl UnlockKey {
    /// From the part after the prefix.
    pub fn from_body(body: &str) -> Self {
        Self(format!("{PREFIX}{body}"))
    }

    /// From what a user gave.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        text.starts_with(PREFIX).then(|| Self(text.to_owned()))
    }

    /// The part after the prefix.
    pub fn body(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// The key itself: for its users and the state alone.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_not_printed() {
        let key = UnlockKey::from_body("abc");
        assert_eq!(key.text(), "SWMKEY-1-abc");
        assert_eq!(UnlockKey::parse(" SWMKEY-1-abc\n"), Some(key.clone()));
        assert_eq!(UnlockKey::parse("SWMTKN-1-abc"), None);
        assert!(!format!("{key:?}").contains("abc"));
    }
}
