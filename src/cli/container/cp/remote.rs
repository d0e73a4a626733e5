//! The container's side of a copy: what a path is, archives out and in.

use base64::Engine;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use crate::cli::{Session, client::escape, errors::Error, output, stream::Reader, task::text};

const STAT: &str = "x-docker-container-path-stat";
const TAR: &str = "application/x-tar";
/// Read from standard input at a time.
const CHUNK: usize = 256 << 10;
/// Go's kinds of files.
const FOLDER: u64 = 1 << 31;
const LINK: u64 = 1 << 27;
const DEVICE: u64 = 1 << 26;

/// What is sent.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a path of the container is.
pub struct Stat {
    mode: u64,
    pub link_target: String,
}

impl Stat {
    pub fn is_folder(&self) -> bool {
        self.mode & FOLDER != 0
    }
    pub fn is_link(&self) -> bool {
        self.mode & LINK != 0
    }
    pub fn is_device(&self) -> bool {
        self.mode & DEVICE != 0
    }

    fn read(headers: &HeaderMap) -> Result<Stat, Error> {
        let wrong = |why: &str| Error::Plain(format!("unable to decode container path stat header: {why}"));
        let encoded = headers.get(STAT).ok_or_else(|| wrong("EOF"))?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|error| wrong(&error.to_string()))?;
        let found: Value = serde_json::from_slice(&decoded).map_err(|error| wrong(&error.to_string()))?;
        Ok(Stat { mode: found["mode"].as_u64().unwrap_or_default(), link_target: text(&found["linkTarget"]).to_owned() })
    }
}

fn route(container: &str) -> String {
    format!("/containers/{}/archive", escape(container))
}

pub async fn stat(session: &Session, container: &str, path: &str) -> Result<Stat, Error> {
    let answer = session.client.stream(Method::HEAD, &route(container), &[("path", path.to_owned())], None).await?;
    Stat::read(answer.headers())
}

pub async fn archive(session: &Session, container: &str, path: &str) -> Result<(Stat, Incoming), Error> {
    let answer = session.client.stream(Method::GET, &route(container), &[("path", path.to_owned())], None).await?;
    let stat = Stat::read(answer.headers()).map_err(|error| Error::Plain(format!("unable to get resource stat from response: {error}")))?;
    Ok((stat, answer.into_body()))
}

/// The archive as it comes.
pub async fn print(body: Incoming) -> Result<(), Error> {
    let mut reader = Reader::new(body);
    while let Some(chunk) = reader.chunk().await? {
        output::bytes(&chunk)?;
    }
    Ok(())
}

pub async fn extract(session: &Session, container: &str, folder: &str, archive: bool, body: Body) -> Result<(), Error> {
    let mut query = vec![("path", folder.to_owned()), ("noOverwriteDirNonDir", "true".to_owned())];
    if archive {
        query.push(("copyUIDGID", "true".to_owned()));
    }
    session.client.upload(Method::PUT, &route(container), &query, TAR, body).await.map(drop)
}

pub fn stdin() -> Body {
    StreamBody::new(ReaderStream::with_capacity(tokio::io::stdin(), CHUNK).map_ok(Frame::data)).boxed_unsync()
}
