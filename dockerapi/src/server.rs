//! HTTP/1.1 over a Unix socket: accept, serve, stop.
//!
//! Owns: the bounds on connections and the way they end. A stream that its client follows (`logs -f`, `events`) never ends by itself, so
//! stopping waits for short requests only.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Connections at a time; more wait in the socket's backlog. A dashboard and some followed logs need tens; each costs about 20 KiB.
const MAX_CONNECTIONS: usize = 1_024;
/// A client that connects and sends no request is let go after this, so that it does not hold a place for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request under way may go on when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed accept (out of descriptors): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the API on the listener until `shutdown` is ready; requests under way get a second to end.
pub async fn serve(listener: UnixListener, router: Router, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        if let Some((stream, place)) = accepted {
            connections.spawn(connection(stream, place, router.clone(), graceful.watcher()));
        }
    }
    drop(listener);
    if tokio::time::timeout(STOP_GRACE, graceful.shutdown()).await.is_err() {
        tracing::debug!("open API streams are cut, the daemon stops");
    }
    connections.shutdown().await;
}

async fn accept(listener: &UnixListener, places: &Arc<Semaphore>) -> Option<(UnixStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "API socket: accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(stream: UnixStream, place: OwnedSemaphorePermit, router: Router, watcher: Watcher) {
    let service = TowerToHyperService::new(router);
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "API connection ended");
    }
    drop(place);
}
