//! One client connection that was handed over: HTTP/1.1 with keep-alive, or HTTP/2 with prior knowledge.
//!
//! Owns: the protocol and the end of a connection. Invariants: each request is given to the service anew, so keep-alive does not pin a
//! client to a replica; when the service has no ready replica left, the connection ends after the answer that is being sent (`Connection:
//! close`, GOAWAY). There is no idle time-out: keep-alive probes find dead peers, and `connections` ends those that misuse their place.

use crate::{
    answer::Answer,
    connections::Place,
    forwarded::Client,
    replica::{Services, Visit},
    request::{self, Cut},
    vetting,
    watch::{Watch, Watched},
};
use http::{Request, Response, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustix::net::{AddressFamily, sockopt};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::net::{TcpStream, UnixStream};
use wsw_api::id::ServiceId;

/// Bytes of a request's head that are buffered, and of a body that wait to be read or sent.
const MAX_BUFFER: usize = 64 << 10;
/// Concurrent streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// What a client may send ahead of a guest that reads slowly: per stream, and for the whole connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Probes on an idle connection: the first after a minute, a dead peer is found after two.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A connection that was taken and is to close before its first request came gets so long for it: a client that has just connected
/// cannot know.
pub const FIRST_REQUEST: Duration = Duration::from_secs(1);

static HTTP: LazyLock<auto::Builder<TokioExecutor>> = LazyLock::new(|| {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(MAX_BUFFER).header_read_timeout(None);
    let header_list = u32::try_from(MAX_BUFFER).unwrap_or(u32::MAX);
    builder.http2().max_concurrent_streams(MAX_STREAMS).max_send_buf_size(MAX_BUFFER).max_header_list_size(header_list);
    builder.http2().initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    builder
});

/// A connection from a client, or a stream that the daemon relays from another node.
pub enum Transport {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Transport {
    /// Takes a descriptor that came over the hand-over socket.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let family = rustix::net::getsockname(&descriptor)?.address_family();
        if sockopt::socket_type(&descriptor)? != rustix::net::SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream"));
        }
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        match family {
            AddressFamily::UNIX => Ok(Self::Unix(descriptor.into())),
            AddressFamily::INET | AddressFamily::INET6 => {
                // Best effort: a peer that is gone already shows when the connection is served.
                let _ = sockopt::set_tcp_nodelay(&descriptor, true);
                let _ = sockopt::set_socket_keepalive(&descriptor, true);
                let _ = sockopt::set_tcp_keepidle(&descriptor, KEEP_ALIVE_IDLE);
                let _ = sockopt::set_tcp_keepintvl(&descriptor, KEEP_ALIVE_INTERVAL);
                Ok(Self::Tcp(descriptor.into()))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither TCP nor a Unix socket")),
        }
    }
}

/// What a connection is served with.
pub struct Served {
    pub services: Arc<Services>,
    pub id: ServiceId,
    /// The service; held from the hand-over to the connection's end.
    pub visit: Visit,
    pub client: Client,
}

/// Serves the connection to its end. Called on the guest runtime.
pub async fn serve(transport: Transport, served: Served, place: Place) {
    let done = match transport {
        Transport::Tcp(stream) => match TcpStream::from_std(stream) {
            Ok(stream) => speak(stream, served, &place.watch).await,
            Err(error) => Err(error.into()),
        },
        Transport::Unix(stream) => match UnixStream::from_std(stream) {
            Ok(stream) => speak(stream, served, &place.watch).await,
            Err(error) => Err(error.into()),
        },
    };
    if let Err(error) = done {
        tracing::debug!("connection: {error}");
    }
}

async fn speak<S>(stream: S, served: Served, watch: &Arc<Watch>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + AsFd + Send + Unpin + 'static,
{
    // A child of its own: it is polled with the connection, and all connections of a service would meet in one lock.
    let closing = served.visit.service().closing.child_token();
    let (served, own) = (Arc::new(served), watch.clone());
    let handler = service_fn(move |request| handle(served.clone(), own.clone(), request));
    let mut connection = pin!(HTTP.serve_connection(TokioIo::new(Watched::new(stream, watch.clone())), handler));
    tokio::select! {
        biased;
        done = connection.as_mut() => return done,
        () = closing.cancelled() => {}
        () = watch.ended() => return Ok(()),
    }
    if !watch.has_asked() {
        tokio::select! {
            biased;
            done = connection.as_mut() => return done,
            () = tokio::time::sleep(FIRST_REQUEST) => {}
            () = watch.ended() => return Ok(()),
        }
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        done = connection => done,
        () = watch.ended() => Ok(()),
    }
}

async fn handle(served: Arc<Served>, watch: Arc<Watch>, mut request: Request<Incoming>) -> Result<Response<Answer>, Cut> {
    let busy = watch.begin(request.version() >= Version::HTTP_2);
    if let Err(refused) = vetting::vet(&request) {
        return Ok(request::closing(refused.status, refused.text, busy));
    }
    served.client.overwrite(request.headers_mut());
    // The service may have ended and begun again since this connection came.
    let service = served.visit.service();
    let taken = service.pick().or_else(|| served.services.get(&served.id)?.pick()).or_else(|| service.pick_last());
    match taken {
        Some(taken) => request::serve(taken, request, busy).await,
        // Only between the last replica's end and the close of this connection.
        None => Ok(request::closing_for_now("no task of this service is ready here\n", busy)),
    }
}
