//! The socket that shims publish their events to.
//!
//! Owns: that service. Events are hints here: `State` and `Wait` are the truth, so all are taken and none is used; with nobody listening a shim's queue
//! fills and its calls hang. Invariant: the socket's name exists for as long as a shim may live (a missing one costs a shim five seconds an
//! event, a refused connection nothing): it is replaced by a rename, never removed.

use crate::error::{Error, Result};
use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::shim_async::{Events, create_events};
use std::path::Path;
use std::sync::Arc;
use ttrpc::asynchronous::{Server, TtrpcContext};

struct Sink;

#[async_trait]
impl Events for Sink {
    async fn forward(&self, _: &TtrpcContext, _: api::ForwardRequest) -> ttrpc::Result<api::Empty> {
        Ok(api::Empty::default())
    }
}

/// Serves at this path until the answer is dropped.
pub(super) async fn serve(path: &Path) -> Result<Server> {
    let temp = crate::files::temporary(path.parent().unwrap_or(Path::new("/")));
    let failed = |error: ttrpc::Error| Error::Temporary(format!("events socket {}: {error}", path.display()));
    let mut server = Server::new().bind(&format!("unix://{}", temp.display())).map_err(failed)?.register_service(create_events(Arc::new(Sink)));
    server.start().await.map_err(failed)?;
    std::fs::rename(&temp, path).map_err(|e| Error::io(format_args!("name the events socket {}", path.display()), &e))?;
    Ok(server)
}
