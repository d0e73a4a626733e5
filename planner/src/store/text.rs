//! Status texts, shared: 10,000 tasks that say "started" hold one copy of the word.
//!
//! Owns: a small pool. It saves memory only; no read or decision depends on what is in it.

use imbl::OrdSet;
use std::sync::Arc;
use wsw_api::task::TaskStatus;

/// Texts kept; common ones are a few dozen, the rest are errors with ids in them.
const MAX_TEXTS: usize = 512;
/// Longer texts are hardly ever equal.
const MAX_SHARED_BYTES: usize = 256;

/// The pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts(OrdSet<Arc<str>>);

impl Texts {
    /// The pool's copy of `text`.
    pub(super) fn share(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        if text.len() <= MAX_SHARED_BYTES {
            if self.0.len() >= MAX_TEXTS {
                self.0.clear();
            }
            self.0.insert(text.clone());
        }
        text.clone()
    }

    /// The status with shared texts.
    pub(super) fn share_status(&mut self, status: &TaskStatus) -> TaskStatus {
        TaskStatus { message: self.share(&status.message), err: self.share(&status.err), ..*status }
    }
}
