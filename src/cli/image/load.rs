//! `image load`: sends an archive and shows what the daemon says about it.

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::Method;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use crate::cli::{Session, args::Matches, errors::Error, output, service::options::os_text, stream::Reader, task::text};

const TAR: &str = "application/x-tar";
/// Read from the file at a time.
const CHUNK: usize = 256 * 1024;

pub async fn run(session: Session, matches: Matches) -> Result<(), Error> {
    let quiet = matches.on("quiet") || !output::stdout_is_terminal();
    let mut query = vec![("quiet", if quiet { "1" } else { "0" }.to_owned())];
    if let Some(platform) = matches.text("platform").filter(|platform| !platform.is_empty()) {
        query.push(("platform", platform_json(platform).to_string()));
    }
    let answer = match matches.text("input").filter(|path| !path.is_empty()) {
        Some(path) => {
            let opened = tokio::fs::File::open(path).await;
            send(&session, &query, opened.map_err(|error| Error::Plain(format!("open {path}: {}", os_text(&error))))?).await?
        }
        None if std::io::IsTerminal::is_terminal(&std::io::stdin()) => return Err(Error::plain("requested load from stdin, but stdin is empty")),
        None => send(&session, &query, tokio::io::stdin()).await?,
    };
    show(answer, true).await
}

async fn send(session: &Session, query: &[(&str, String)], source: impl tokio::io::AsyncRead + Send + 'static) -> Result<http::Response<Incoming>, Error> {
    let body = StreamBody::new(ReaderStream::with_capacity(source, CHUNK).map_ok(Frame::data));
    session.client.upload(Method::POST, "/images/load", query, TAR, body).await
}

/// Loads an archive that is at hand, without a word when it succeeds.
pub async fn bytes(session: &Session, archive: Bytes) -> Result<(), Error> {
    let answer = session.client.stream(Method::POST, "/images/load", &[("quiet", "1".into())], Some((TAR, archive))).await?;
    show(answer, false).await
}

/// Shows the messages; an error among them is the command's.
async fn show(answer: http::Response<Incoming>, prints: bool) -> Result<(), Error> {
    let is_json = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.contains("json"));
    let mut reader = Reader::new(answer.into_body());
    if !is_json {
        while let Some(chunk) = reader.chunk().await? {
            if prints {
                output::print(&String::from_utf8_lossy(&chunk))?;
            }
        }
        return Ok(());
    }
    while let Some(message) = reader.json::<Value>().await? {
        let detail = text(&message["errorDetail"]["message"]);
        let error = if detail.is_empty() { text(&message["error"]) } else { detail };
        if !error.is_empty() {
            return Err(Error::Plain(error.to_owned()));
        }
        let (said, status, id) = (text(&message["stream"]), text(&message["status"]), text(&message["id"]));
        match (prints, said, message.get("progressDetail")) {
            (false, ..) => {}
            (_, "", Some(_)) if !output::stdout_is_terminal() => {}
            (_, "", _) if id.is_empty() => output::line(status)?,
            (_, "", _) => output::line(&format!("{id}: {status}"))?,
            (_, said, _) => output::print(said)?,
        }
    }
    Ok(())
}

/// `os[/arch[/variant]]` as the API's platform.
pub fn platform_json(text: &str) -> Value {
    let mut parts = text.splitn(3, '/');
    let mut platform = serde_json::Map::new();
    for key in ["os", "architecture", "variant"] {
        if let Some(part) = parts.next() {
            platform.insert(key.into(), part.into());
        }
    }
    Value::Object(platform)
}
