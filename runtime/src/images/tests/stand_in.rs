//! A registry that does what a test tells it, path by path: mostly something wrong.

use super::fixture::*;
use crate::images::blobs::digest_of;
use crate::images::{PullRequest, Sink};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use wsw_api::registry::RegistryAuth;

/// What the registry does when it is asked for a path.
#[derive(Clone)]
pub enum Deed {
    /// All of it, or what a range asks.
    Send(Vec<u8>),
    /// The same, with these header lines.
    With(String, Vec<u8>),
    /// All of it, whatever a range asks.
    Whole(Vec<u8>),
    /// The head of all of it and so many bytes, then the connection is cut.
    Cut(Vec<u8>, usize),
    /// The same, and the connection stays open.
    Stall(Vec<u8>, usize),
    /// Not even a head.
    Silent,
    /// Claims this length.
    Claim(Vec<u8>, u64),
    /// Sends for ever, without a length.
    Endless,
    Status(u16, String, String),
    Redirect(String),
    /// One after the other; the last for good.
    InTurn(Vec<Deed>),
}

/// A refusal without words.
pub fn status(code: u16) -> Deed {
    Deed::Status(code, String::new(), String::new())
}

/// A refusal with a header line.
pub fn says(code: u16, header: &str) -> Deed {
    Deed::Status(code, format!("{header}\r\n"), String::new())
}

#[derive(Default)]
struct Book {
    deeds: BTreeMap<String, (Deed, usize)>,
    /// `/path`, with what came as range and credentials.
    seen: Vec<String>,
}

pub struct Hostile {
    pub port: u16,
    book: Arc<Mutex<Book>>,
}

impl Hostile {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let this = Self { port, book: Arc::default() };
        let book = this.book.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let book = book.clone();
                tokio::spawn(async move {
                    let _ = serve(stream, &book).await;
                });
            }
        });
        this
    }

    pub fn deed(&self, path: &str, deed: Deed) {
        self.book.lock().unwrap().deeds.insert(path.to_owned(), (deed, 0));
    }

    /// An artefact at `/v2/app/manifests/1`, its layer as `layer` makes it; answers the layer's path.
    pub fn offer(&self, module: &[u8], layer: impl FnOnce(Vec<u8>) -> Deed) -> String {
        let manifest = self.blobs_of(module, layer);
        self.deed("/v2/app/manifests/1", Deed::Send(manifest.to_string().into_bytes()));
        format!("/v2/app/blobs/{}", digest_of(module))
    }

    /// Configuration and layer of an artefact; answers the manifest.
    pub fn blobs_of(&self, module: &[u8], layer: impl FnOnce(Vec<u8>) -> Deed) -> Value {
        let config = json!({"architecture": "wasm", "os": "wasip1"}).to_string().into_bytes();
        let (layer_digest, config_digest) = (digest_of(module), digest_of(&config));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": ARTIFACT_CONFIG, "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": WASM, "digest": layer_digest, "size": module.len()}],
        });
        self.deed(&format!("/v2/app/blobs/{config_digest}"), Deed::Send(config));
        self.deed(&format!("/v2/app/blobs/{layer_digest}"), layer(module.to_vec()));
        manifest
    }

    pub async fn pull(&self, store: &Store, auth: Option<&str>) -> Result<String, String> {
        let request = PullRequest { reference: format!("127.0.0.1:{}/app:1", self.port), platform: None, auth: auth.map(RegistryAuth::new) };
        store.images.pull(&request, &Sink::default()).await.map(|pulled| pulled.image).map_err(|error| error.message)
    }

    pub fn seen(&self, path: &str) -> Vec<String> {
        self.book.lock().unwrap().seen.iter().filter(|line| line.starts_with(path)).cloned().collect()
    }
}

/// What is to be done now, by how often the path was asked for.
fn next(book: &Mutex<Book>, path: &str) -> Option<Deed> {
    let mut book = book.lock().unwrap();
    let (deed, times) = book.deeds.get_mut(path)?;
    *times += 1;
    Some(match deed {
        Deed::InTurn(deeds) => deeds[(*times - 1).min(deeds.len() - 1)].clone(),
        other => other.clone(),
    })
}

async fn serve(stream: TcpStream, book: &Mutex<Book>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    // The start of TLS, which is not spoken here.
    if stream.fill_buf().await?.first() == Some(&0x16) {
        return Ok(());
    }
    let (mut head, mut line) = (Vec::new(), String::new());
    while stream.read_line(&mut line).await? > 2 {
        head.push(line.trim_end().to_owned());
        line.clear();
    }
    let path = head.first().and_then(|first| first.split(' ').nth(1)).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let header =
        |name: &str| head.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()));
    let (range, login) = (header("range"), header("authorization"));
    book.lock().unwrap().seen.push(format!("{path} {range:?} {login:?}"));
    let from = range.as_deref().and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()).unwrap_or(0);
    let out = stream.get_mut();
    match next(book, &path) {
        None if path == "/v2/" => out.write_all(&refusal(200, "", "{}")).await,
        None => out.write_all(&refusal(404, "", r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)).await,
        Some(Deed::Send(content)) => out.write_all(&answer(&content, from, "")).await,
        Some(Deed::With(headers, content)) => out.write_all(&answer(&content, from, &headers)).await,
        Some(Deed::Whole(content)) => out.write_all(&answer(&content, 0, "")).await,
        Some(Deed::Cut(content, at)) => out.write_all(&started(&content, from, at)).await,
        Some(Deed::Stall(content, at)) => {
            out.write_all(&started(&content, from, at)).await?;
            stream.read_line(&mut line).await.map(drop)
        }
        Some(Deed::Silent) => stream.read_line(&mut line).await.map(drop),
        Some(Deed::Claim(content, length)) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            out.write_all(&[head.as_bytes(), &content].concat()).await
        }
        Some(Deed::Endless) => {
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                out.write_all(&[b'x'; 65_536]).await?;
            }
        }
        Some(Deed::Status(code, headers, body)) => out.write_all(&refusal(code, &headers, &body)).await,
        Some(Deed::Redirect(to)) => out.write_all(&refusal(307, &format!("Location: {to}\r\n"), "")).await,
        Some(Deed::InTurn(_)) => panic!("one turn within another"),
    }
}

fn answer(content: &[u8], from: usize, headers: &str) -> Vec<u8> {
    let (rest, length) = (&content[from.min(content.len())..], content.len());
    let head = match from {
        0 => "200 OK\r\n".to_owned(),
        from => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{length}\r\n", length - 1),
    };
    [format!("HTTP/1.1 {head}{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len()).as_bytes(), rest].concat()
}

/// The same, without what comes after byte `at` of the content.
fn started(content: &[u8], from: usize, at: usize) -> Vec<u8> {
    let mut whole = answer(content, from, "");
    whole.truncate(whole.len() - (content.len() - at.max(from)));
    whole
}

fn refusal(code: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}
