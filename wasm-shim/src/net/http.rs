//! Outgoing HTTP: one connection a request, to an address that was judged.
//!
//! Owns: the client. Invariants: the host is looked up by us and only if the list allows it; what is connected is one of those addresses,
//! judged with the name and the port; nothing waits longer than its limit; a body is passed on as it comes. Redirects are answers like
//! others: a guest that follows one makes a new request, which is judged anew.

use super::{LookupError, TaskNet};
use crate::quota::Permit;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::Scheme};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Sleep},
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

/// Limits: what holds when the guest says nothing, and what it may ask for.
const CONNECT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
const FIRST_BYTE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
const BETWEEN_BYTES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// Bytes of an answer's head, and of a body, that are held.
const MAX_BUFFER: usize = 64 << 10;

pub type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// Sends a request; the second value drives the connection while the answer's body is read.
pub async fn send(net: Arc<TaskNet>, request: Request<WasiBody>, options: Option<RequestOptions>) -> Result<(Response<WasiBody>, Io), Error> {
    let options = options.unwrap_or_default();
    let limit = |asked: Option<Duration>, (default, most): (Duration, Duration)| asked.unwrap_or(default).clamp(Duration::from_millis(1), most);
    let place = net.socket().ok_or(Error::ConnectionLimitReached)?;
    let opening = open(&net, request);
    let (sending, mut driver) = tokio::time::timeout(limit(options.connect_timeout, CONNECT), opening).await.map_err(|_| Error::ConnectionTimeout)??;
    let mut sending = std::pin::pin!(tokio::time::timeout(limit(options.first_byte_timeout, FIRST_BYTE), sending));
    let mut over = None;
    let answer = tokio::select! {
        biased;
        answer = &mut sending => answer,
        ended = &mut driver => {
            over = Some(ended);
            sending.await
        }
    };
    let answer = answer.map_err(|_| Error::HttpResponseTimeout)?.map_err(Error::from)?;
    let between = limit(options.between_bytes_timeout, BETWEEN_BYTES);
    let body = |incoming| Answer { incoming, between, late: Box::pin(tokio::time::sleep(between)), _place: place }.boxed_unsync();
    let io = async move {
        match over {
            Some(ended) => ended,
            None => driver.await,
        }
        .map_err(Error::from)
    };
    Ok((answer.map(body), Box::new(io)))
}

type Sending = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

/// Connects, and begins to send.
async fn open(net: &TaskNet, request: Request<WasiBody>) -> Result<(Sending, Driver), Error> {
    let uri = request.uri();
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = connect(net, &host, port).await?;
    if !is_tls {
        return speak(stream, false, request).await;
    }
    let (stream, is_h2) = net.shared.tls.connect(&host, stream).await?;
    speak(stream, is_h2, request).await
}

async fn connect(net: &TaskNet, host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses = net.lookup(host).await.map_err(lookup_failed)?;
    let (mut last, mut judged) = (Error::HttpRequestDenied, false);
    for address in addresses {
        let target = SocketAddr::new(address, port);
        if !net.is_allowed(target) {
            continue;
        }
        judged = true;
        match TcpStream::connect(target).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = connect_failed(&error),
        }
    }
    if !judged {
        net.refused(&format!("{host}:{port}"));
    }
    Err(last)
}

fn lookup_failed(error: LookupError) -> Error {
    match error {
        LookupError::Denied => Error::HttpRequestDenied,
        LookupError::Invalid => Error::HttpRequestUriInvalid,
        LookupError::Busy | LookupError::Late => Error::DnsTimeout,
        LookupError::Failed(text) => Error::DnsError { rcode: Some(text), info_code: None },
    }
}

fn connect_failed(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

async fn speak<S>(stream: S, is_h2: bool, mut request: Request<WasiBody>) -> Result<(Sending, Driver), Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = TokioIo::new(stream);
    if is_h2 {
        // The authority is in the address; a second one could differ.
        request.headers_mut().remove(header::HOST);
        *request.version_mut() = http::Version::HTTP_2;
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.max_send_buf_size(MAX_BUFFER).handshake(stream).await?;
        return Ok((Box::pin(async move { sender.send_request(request).await }), Box::pin(connection)));
    }
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| Error::HttpRequestUriInvalid)?;
    *request.version_mut() = http::Version::HTTP_11;
    let mut builder = hyper::client::conn::http1::Builder::new();
    let (mut sender, connection) = builder.max_buf_size(MAX_BUFFER).handshake(stream).await?;
    Ok((Box::pin(async move { sender.send_request(request).await }), Box::pin(connection)))
}

/// An answer's body: each piece within its time, and the place of its connection until its end.
struct Answer {
    incoming: Incoming,
    between: Duration,
    late: Pin<Box<Sleep>>,
    _place: Permit,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                let next = Instant::now() + self.between;
                self.late.as_mut().reset(next);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => self.late.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
