//! The Engine API client: HTTP/1.1 over a Unix socket or TCP, version negotiation, the daemon's errors as [`Error`].
//!
//! Buffered requests share one connection; a stream has one of its own. Bodies are plain JSON values: the CLI shows what the daemon
//! says, fields that it does not know included.

use std::{path::PathBuf, sync::OnceLock};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::Mutex,
};

use super::errors::Error;

/// The newest API version that this client speaks (that of docker 28).
pub const API_VERSION: &str = "1.50";
/// docker's port for an address without one.
const DEFAULT_TCP_PORT: u16 = 2375;
/// What a daemon speaks that does not say so.
const OLDEST_ASSUMED: &str = "1.24";
/// An answer that is read whole is at most this large: a list of 100,000 tasks stays below it.
const LARGEST_ANSWER: usize = 1 << 30;

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    Tcp(String),
}

pub struct Client {
    host: Host,
    /// The host as it was given, for error texts.
    spelling: String,
    version: OnceLock<String>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// A request's query, as (name, value).
pub type Query<'a> = &'a [(&'a str, String)];

impl Host {
    pub fn parse(text: &str) -> Result<Host, Error> {
        match text.split_once("://") {
            Some(("unix", path)) => Ok(Host::Unix(path.into())),
            Some(("tcp" | "http", address)) => {
                let address = address.trim_end_matches('/');
                let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Host::Tcp(if has_port { address.to_owned() } else { format!("{address}:{DEFAULT_TCP_PORT}") }))
            }
            Some((scheme, _)) => Err(Error::Plain(format!("unable to resolve host {text:?}: the scheme {scheme:?} is not supported (use unix:// or tcp://)"))),
            None if text.starts_with('/') => Ok(Host::Unix(text.into())),
            None => Err(Error::Plain(format!("unable to parse docker host `{text}`"))),
        }
    }
}

impl Client {
    pub fn new(spelling: String) -> Result<Client, Error> {
        let host = Host::parse(&spelling)?;
        Ok(Client { host, spelling, version: OnceLock::new(), connection: Mutex::new(None) })
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The daemon's headers, asked without a version: what it can do and which state its swarm is in.
    pub async fn ping(&self) -> Result<http::HeaderMap, Error> {
        let answer = self.send(Method::HEAD, "/_ping", Vec::new(), None).await?;
        if answer.status().is_success() && answer.headers().contains_key("api-version") {
            return Ok(answer.headers().clone());
        }
        let answer = self.send(Method::GET, "/_ping", Vec::new(), None).await?;
        Ok(answer.headers().clone())
    }

    /// The version that both sides speak.
    pub async fn version(&self) -> Result<&str, Error> {
        if let Some(version) = self.version.get() {
            return Ok(version);
        }
        let version = match std::env::var("DOCKER_API_VERSION").ok().filter(|version| !version.is_empty()) {
            Some(fixed) => fixed.trim_start_matches('v').to_owned(),
            None => {
                let headers = self.ping().await?;
                let server = headers.get("api-version").and_then(|value| value.to_str().ok()).unwrap_or(OLDEST_ASSUMED);
                if numbers(server) < numbers(API_VERSION) { server.to_owned() } else { API_VERSION.to_owned() }
            }
        };
        Ok(self.version.get_or_init(|| version))
    }

    pub async fn get_with(&self, path: &str, query: Query<'_>, headers: &[(&'static str, String)]) -> Result<Value, Error> {
        parse(&self.call(Method::GET, path, query, None, headers).await?)
    }

    pub async fn get(&self, path: &str, query: Query<'_>) -> Result<Value, Error> {
        parse(&self.get_text(path, query).await?)
    }

    /// The body as it came, for what is shown in the daemon's own order.
    pub async fn get_text(&self, path: &str, query: Query<'_>) -> Result<String, Error> {
        self.call(Method::GET, path, query, None, &[]).await
    }

    pub async fn post(&self, path: &str, query: Query<'_>, body: Option<&Value>) -> Result<Value, Error> {
        parse(&self.call(Method::POST, path, query, body, &[]).await?)
    }

    pub async fn post_with(&self, path: &str, query: Query<'_>, body: &Value, headers: &[(&'static str, String)]) -> Result<Value, Error> {
        parse(&self.call(Method::POST, path, query, Some(body), headers).await?)
    }

    pub async fn delete(&self, path: &str, query: Query<'_>) -> Result<Value, Error> {
        parse(&self.call(Method::DELETE, path, query, None, &[]).await?)
    }

    async fn call(&self, method: Method, path: &str, query: Query<'_>, body: Option<&Value>, headers: &[(&'static str, String)]) -> Result<String, Error> {
        let route = self.route(path, query).await?;
        let mut all: Vec<(&'static str, String)> = headers.to_vec();
        let body = body.map(|value| Bytes::from(value.to_string()));
        if body.is_some() {
            all.push(("content-type", "application/json".into()));
        }
        let answer = self.send(method, &route, all, body).await?;
        let (parts, bytes) = answer.into_parts();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if parts.status.as_u16() >= 400 {
            return Err(self.refusal(parts.status, &parts.headers, &text, &route));
        }
        Ok(text)
    }

    async fn route(&self, path: &str, query: Query<'_>) -> Result<String, Error> {
        let mut route = format!("/v{}{path}", self.version().await?);
        for (at, (name, value)) in query.iter().enumerate() {
            route.push(if at == 0 { '?' } else { '&' });
            route += &format!("{name}={}", escape(value));
        }
        Ok(route)
    }

    /// Sends over the shared connection and reads the answer whole.
    async fn send(&self, method: Method, route: &str, headers: Vec<(&'static str, String)>, body: Option<Bytes>) -> Result<Response<Bytes>, Error> {
        let mut shared = self.connection.lock().await;
        // The daemon may have closed the idle connection: one more try on a new one.
        if let Some(connection) = shared.as_mut().filter(|connection| !connection.is_closed())
            && connection.ready().await.is_ok()
            && let Ok(answer) = connection.send_request(request(method.clone(), route, &headers, body.clone())?).await
        {
            return self.read(answer).await;
        }
        let mut connection = self.connect(&method, route).await?;
        let sent = connection.send_request(request(method, route, &headers, body)?).await;
        let answer = sent.map_err(|error| self.broken(&error))?;
        *shared = Some(connection);
        self.read(answer).await
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Response<Bytes>, Error> {
        let (parts, body) = answer.into_parts();
        let body = http_body_util::Limited::new(body, LARGEST_ANSWER);
        let bytes = body.collect().await.map_err(|error| Error::Plain(format!("error reading the daemon's answer: {error}")))?.to_bytes();
        Ok(Response::from_parts(parts, bytes))
    }

    /// Sends on a connection of its own and leaves the body to the caller. `content` is sent as it is.
    pub async fn stream(&self, method: Method, path: &str, query: Query<'_>, content: Option<(&'static str, Bytes)>) -> Result<Response<Incoming>, Error> {
        self.stream_with(method, path, query, &[], content).await
    }

    /// The same with headers.
    pub async fn stream_with(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        headers: &[(&'static str, String)],
        content: Option<(&'static str, Bytes)>,
    ) -> Result<Response<Incoming>, Error> {
        let route = self.route(path, query).await?;
        let mut headers = headers.to_vec();
        let body = content.map(|(kind, bytes)| {
            headers.push(("content-type", kind.to_owned()));
            bytes
        });
        let mut connection = self.connect(&method, &route).await?;
        let answer = connection.send_request(request(method, &route, &headers, body)?).await.map_err(|error| self.broken(&error))?;
        if answer.status().as_u16() < 400 {
            return Ok(answer);
        }
        let (parts, bytes) = self.read(answer).await?.into_parts();
        Err(self.refusal(parts.status, &parts.headers, &String::from_utf8_lossy(&bytes), &route))
    }

    /// Asks for a connection of its own: the daemon answers that HTTP is over, and what follows is the stream.
    pub async fn hijack(&self, path: &str, query: Query<'_>, body: Option<&Value>) -> Result<Upgraded, Error> {
        let route = self.route(path, query).await?;
        let mut headers = vec![("connection", "Upgrade".to_owned()), ("upgrade", "tcp".to_owned())];
        let body = body.map(|value| Bytes::from(value.to_string()));
        if body.is_some() {
            headers.push(("content-type", "application/json".into()));
        }
        let mut connection = self.connect(&Method::POST, &route).await?;
        let answer = connection.send_request(request(Method::POST, &route, &headers, body)?).await.map_err(|error| self.broken(&error))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return hyper::upgrade::on(answer).await.map_err(|error| self.broken(&error));
        }
        let (parts, bytes) = self.read(answer).await?.into_parts();
        if parts.status.as_u16() < 400 {
            return Err(Error::Plain(format!("unable to upgrade to tcp, received {}", parts.status.as_u16())));
        }
        Err(self.refusal(parts.status, &parts.headers, &String::from_utf8_lossy(&bytes), &route))
    }

    /// Uploads `body` chunk by chunk (an archive may be large).
    pub async fn upload<B>(&self, method: Method, path: &str, query: Query<'_>, kind: &'static str, body: B) -> Result<Response<Incoming>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let route = self.route(path, query).await?;
        let headers = vec![("content-type", kind.to_owned())];
        let mut connection = self.connect(&method, &route).await?;
        let request = build(method, &route, &headers, body)?;
        let answer = connection.send_request(request).await.map_err(|error| self.broken(&error))?;
        if answer.status().as_u16() < 400 {
            return Ok(answer);
        }
        let (parts, bytes) = self.read(answer).await?.into_parts();
        Err(self.refusal(parts.status, &parts.headers, &String::from_utf8_lossy(&bytes), &route))
    }

    async fn connect<B>(&self, method: &Method, route: &str) -> Result<SendRequest<B>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let verb = match *method {
            Method::GET => "Get",
            Method::HEAD => "Head",
            Method::PUT => "Put",
            Method::DELETE => "Delete",
            _ => "Post",
        };
        match &self.host {
            Host::Unix(path) => shake(UnixStream::connect(path).await.map_err(|error| self.unreachable(&error, verb, route))?).await,
            Host::Tcp(address) => shake(TcpStream::connect(address).await.map_err(|error| self.unreachable(&error, verb, route))?).await,
        }
        .map_err(|error| self.broken(&error))
    }

    fn unreachable(&self, error: &std::io::Error, verb: &str, route: &str) -> Error {
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            let path = self.spelling.trim_start_matches("unix://");
            let url = format!("http://{}{route}", escape(path));
            return Error::Connect(format!(
                "permission denied while trying to connect to the wsw daemon socket at {}: {verb} {url:?}: dial unix {path}: connect: permission denied",
                self.spelling
            ));
        }
        Error::Connect(format!("Cannot connect to the wsw daemon at {}. Is the wsw daemon running?", self.spelling))
    }

    fn broken(&self, error: &hyper::Error) -> Error {
        Error::Connect(format!("error during connect: the daemon at {} closed the connection: {error}", self.spelling))
    }

    fn refusal(&self, status: StatusCode, headers: &http::HeaderMap, body: &str, route: &str) -> Error {
        let is_json = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("application/json"));
        let message = if is_json { serde_json::from_str::<Value>(body).ok().and_then(|value| value["message"].as_str().map(str::to_owned)) } else { None };
        let message = message.unwrap_or_else(|| body.trim().to_owned());
        if message.is_empty() {
            let reason = status.canonical_reason().unwrap_or("an error");
            return Error::Plain(format!(
                "request returned {reason} for API route and version {route}, check if the server supports the requested API version"
            ));
        }
        Error::Daemon { status: status.as_u16(), message: message.trim().to_owned() }
    }
}

async fn shake<S, B>(stream: S) -> hyper::Result<SendRequest<B>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its end shows at the sender; there is nobody else to tell.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

fn request(method: Method, route: &str, headers: &[(&'static str, String)], body: Option<Bytes>) -> Result<Request<Full<Bytes>>, Error> {
    build(method, route, headers, Full::new(body.unwrap_or_default()))
}

fn build<B>(method: Method, route: &str, headers: &[(&'static str, String)], body: B) -> Result<Request<B>, Error> {
    let mut builder =
        Request::builder().method(method).uri(route).header(header::HOST, "wsw").header(header::USER_AGENT, concat!("wsw/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    builder.body(body).map_err(|error| Error::Plain(format!("the request cannot be sent: {error}")))
}

fn parse(text: &str) -> Result<Value, Error> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| Error::Plain(format!("error decoding the daemon's answer: {error}")))
}

/// "1.41" as numbers that compare.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Whether API version `version` is at least `least`.
pub fn at_least(version: &str, least: &str) -> bool {
    numbers(version) >= numbers(least)
}

/// Percent-encodes one component of a query or path.
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// `--filter` values as the API wants them: `{"name":{"value":true}}`.
pub fn filters<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut map = serde_json::Map::new();
    for (name, value) in pairs {
        let values = map.entry(name).or_insert_with(|| Value::Object(serde_json::Map::new()));
        values[value] = Value::Bool(true);
    }
    if map.is_empty() { String::new() } else { Value::Object(map).to_string() }
}

/// The `filters` parameter of a query; left out when there is none.
pub fn filter_query(pairs: &[(String, String)]) -> Vec<(&'static str, String)> {
    let text = filters(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    if text.is_empty() { Vec::new() } else { vec![("filters", text)] }
}

/// `--filter name=value` flags, taken apart.
pub fn given_filters(flags: &[String]) -> Vec<(String, String)> {
    flags.iter().filter_map(|flag| flag.split_once('=')).map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned())).collect()
}
