//! What a pull or push says while it goes on.
//!
//! Owns: the way out. Invariant: figures may be dropped when nobody keeps up, words never; nobody listening stops nothing.

use tokio::sync::mpsc;
use wsw_api::image::Progress;

/// Messages that wait for a slow reader.
pub const MAX_WAITING: usize = 256;

/// Where messages go; nowhere for a pull of a task.
#[derive(Debug, Clone, Default)]
pub struct Sink(Option<mpsc::Sender<Progress>>);

impl Sink {
    /// A sink and its other end.
    pub fn channel() -> (Self, mpsc::Receiver<Progress>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self(Some(sender)), receiver)
    }

    pub(crate) async fn say(&self, id: &str, status: impl Into<String>) {
        self.send(Progress { id: id.to_owned(), status: status.into(), figures: None, layer: false }).await;
    }

    pub(crate) async fn layer(&self, id: &str, status: &str) {
        self.send(Progress { id: id.to_owned(), status: status.to_owned(), figures: None, layer: true }).await;
    }

    pub(crate) fn figures(&self, id: &str, status: &str, current: u64, total: u64) {
        if let Some(sender) = &self.0 {
            let _ = sender.try_send(Progress { id: id.to_owned(), status: status.to_owned(), figures: Some((current, total)), layer: true });
        }
    }

    async fn send(&self, progress: Progress) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(progress).await;
        }
    }
}

/// docker's name of a layer in progress lines: twelve digits of its digest.
pub(crate) fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}
