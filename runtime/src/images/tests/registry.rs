//! A registry that misbehaves, in a table: each row is one way, and what a pull makes of it.

use super::fixture::*;
use crate::images::blobs::digest_of;
use crate::images::{PullRequest, Sink};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use wsw_api::registry::RegistryAuth;

/// What the registry does when it is asked for a path.
#[derive(Clone)]
enum Deed {
    Send(Vec<u8>),
    /// The first time only part of it, then the connection is cut; afterwards as a range asks.
    Cut(Vec<u8>, usize),
    /// Claims this length.
    Claim(Vec<u8>, u64),
    /// Sends the head, then nothing.
    Stall(u64),
    /// Sends for ever, without a length.
    Endless,
    Status(u16, &'static str, &'static str),
    /// The first so many times a status, then the content.
    After(usize, u16, &'static str, Vec<u8>),
    Redirect(String),
}

struct Hostile {
    port: u16,
    deeds: Arc<Mutex<BTreeMap<String, Deed>>>,
    /// `GET /path`, with what came as range and credentials.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let this = Self { port, deeds: Arc::default(), seen: Arc::default() };
        let (deeds, seen) = (this.deeds.clone(), this.seen.clone());
        let times = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (deeds, seen, times) = (deeds.clone(), seen.clone(), times.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, &deeds, &seen, &times).await;
                });
            }
        });
        this
    }

    fn deed(&self, path: &str, deed: Deed) {
        self.deeds.lock().unwrap().insert(path.to_owned(), deed);
    }

    /// An artefact at `/v2/app/manifests/1`, its layer as `layer` makes it.
    fn offer(&self, module: &[u8], layer: impl FnOnce(Vec<u8>) -> Deed) -> String {
        let config = json!({"architecture": "wasm", "os": "wasip1"}).to_string().into_bytes();
        let (layer_digest, config_digest) = (digest_of(module), digest_of(&config));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": ARTIFACT_CONFIG, "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": WASM, "digest": layer_digest, "size": module.len()}],
        });
        self.deed(&format!("/v2/app/blobs/{config_digest}"), Deed::Send(config));
        let path = format!("/v2/app/blobs/{layer_digest}");
        self.deed(&path, layer(module.to_vec()));
        self.deed("/v2/app/manifests/1", Deed::Send(manifest.to_string().into_bytes()));
        path
    }

    async fn pull(&self, store: &Store, auth: Option<&str>) -> Result<String, String> {
        let request = PullRequest { reference: format!("127.0.0.1:{}/app:1", self.port), platform: None, auth: auth.map(RegistryAuth::new) };
        store.images.pull(&request, &Sink::default()).await.map(|pulled| pulled.image).map_err(|error| error.message)
    }

    fn seen(&self, path: &str) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|line| line.starts_with(path)).cloned().collect()
    }
}

async fn serve(stream: TcpStream, deeds: &Mutex<BTreeMap<String, Deed>>, seen: &Mutex<Vec<String>>, times: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut line) = (Vec::new(), String::new());
    while stream.read_line(&mut line).await? > 2 {
        head.push(line.trim_end().to_owned());
        line.clear();
    }
    let path = head.first().and_then(|first| first.split(' ').nth(1)).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let header =
        |name: &str| head.iter().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()));
    let (range, login) = (header("range"), header("authorization"));
    seen.lock().unwrap().push(format!("{path} {range:?} {login:?}"));
    let from = range.as_deref().and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()).unwrap_or(0);
    let deed = deeds.lock().unwrap().get(&path).cloned();
    let out = stream.get_mut();
    let whole = |content: &[u8]| match from {
        0 => [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len()).as_bytes(), content].concat(),
        from => {
            let (rest, length) = (&content[from..], content.len());
            let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{length}\r\nContent-Length: {}\r\n\r\n", length - 1, rest.len());
            [head.as_bytes(), rest].concat()
        }
    };
    let status = |code: u16, headers: &str, body: &str| {
        format!("HTTP/1.1 {code} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
    };
    match deed {
        None if path == "/v2/" => out.write_all(&status(200, "", "{}")).await,
        None => out.write_all(&status(404, "", r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)).await,
        Some(Deed::Send(content)) => out.write_all(&whole(&content)).await,
        Some(Deed::Cut(content, at)) if from == 0 => out.write_all(&whole(&content)[..at]).await,
        Some(Deed::Cut(content, _)) => out.write_all(&whole(&content)).await,
        Some(Deed::Claim(content, length)) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            out.write_all(&[head.as_bytes(), &content].concat()).await
        }
        Some(Deed::Stall(length)) => {
            out.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await?;
            stream.read_line(&mut line).await.map(drop)
        }
        Some(Deed::Endless) => {
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                out.write_all(&[b'x'; 65_536]).await?;
            }
        }
        Some(Deed::Status(code, headers, body)) => out.write_all(&status(code, headers, body)).await,
        Some(Deed::After(count, code, headers, content)) => match times.fetch_add(1, Ordering::SeqCst) < count {
            true => out.write_all(&status(code, headers, "")).await,
            false => out.write_all(&whole(&content)).await,
        },
        Some(Deed::Redirect(to)) => out.write_all(&status(307, &format!("Location: {to}\r\n"), "")).await,
    }
}

#[tokio::test]
async fn a_blob_goes_on_where_it_was_cut() {
    let (store, registry) = (Store::new(), Hostile::start().await);
    let module = module(&"m".repeat(100_000));
    let path = registry.offer(&module, |content| Deed::Cut(content, 40_000));
    let image = registry.pull(&store, None).await.unwrap();
    assert_eq!(store.images.resolve(&image).unwrap().module_digest, digest_of(&module));
    let asked = registry.seen(&path);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].contains("bytes=39"), "it began where the first connection ended: {asked:?}");
    assert_eq!(std::fs::read_dir(store.dir.path().join("downloads")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_part_of_an_earlier_life_goes_on_and_a_spoilt_one_comes_anew() {
    for spoilt in [false, true] {
        let (store, registry) = (Store::new(), Hostile::start().await);
        let module = module(&"m".repeat(10_000));
        let path = registry.offer(&module, Deed::Send);
        let part = store.dir.path().join(format!("downloads/{}.part", &digest_of(&module)[7..]));
        std::fs::write(part, if spoilt { vec![0; 6_000] } else { module[..6_000].to_vec() }).unwrap();
        registry.pull(&store, None).await.unwrap();
        let asked = registry.seen(&path);
        assert!(asked[0].contains("bytes=6000-"), "{asked:?}");
        assert_eq!(asked.len(), if spoilt { 2 } else { 1 }, "{asked:?}");
    }
}

#[tokio::test]
async fn what_a_registry_may_do_wrong() {
    let good = module(&"g".repeat(5_000));
    type Row = (&'static str, fn(Vec<u8>) -> Deed, &'static str);
    let layers: [Row; 9] = [
        ("other content", |content| Deed::Send(vec![b'x'; content.len()]), "verification failed"),
        ("a longer length", |content| Deed::Claim(content.clone(), content.len() as u64 + 1), "the manifest says 5008"),
        ("a shorter length", |content| Deed::Claim(content[..10].to_vec(), 10), "the manifest says 5008"),
        ("more than it should", |content| Deed::Send([content, vec![0; 9]].concat()), "the manifest says 5008"),
        ("without an end", |_| Deed::Endless, "the manifest says 5008"),
        ("nothing", |content| Deed::Stall(content.len() as u64), "no data came for too long"),
        ("500", |_| Deed::Status(500, "", ""), "unexpected status 500"),
        ("429 with a long wait", |_| Deed::Status(429, "Retry-After: 999\r\n", ""), "toomanyrequests"),
        ("in circles", |_| Deed::Redirect("/v2/app/manifests/round".into()), "redirects"),
    ];
    for (name, deed, wanted) in layers {
        let (store, registry) = (Store::new(), Hostile::start().await);
        registry.deed("/v2/app/manifests/round", Deed::Redirect("/v2/app/manifests/round".into()));
        registry.offer(&good, deed);
        let error = registry.pull(&store, None).await.unwrap_err();
        assert!(error.contains(wanted), "{name}: {error}");
        assert_eq!((store.images.count(), store.files()), (0, vec![]), "{name}");
    }
    let manifests: [(&str, Deed, &str); 8] = [
        ("500", Deed::Status(500, "", ""), "unexpected status 500"),
        ("403", Deed::Status(403, "", r#"{"errors":[{"code":"DENIED","message":"no"}]}"#), "pull access denied for 127.0.0.1"),
        ("401 of an unknown kind", Deed::Status(401, "WWW-Authenticate: Negotiate\r\n", ""), "a login of a kind that is not known"),
        ("404", Deed::Status(404, "", "<html>"), "not found: manifest unknown"),
        ("an endless one", Deed::Endless, "larger than 4 MiB"),
        ("no JSON", Deed::Send(b"<html>".to_vec()), "manifest sha256:"),
        ("an index of nothing", Deed::Send(br#"{"schemaVersion":2,"manifests":[]}"#.to_vec()), "no matching manifest"),
        ("one of other digests", Deed::Send(OTHER_DIGEST.into()), "only sha256"),
    ];
    for (name, deed, wanted) in manifests {
        let (store, registry) = (Store::new(), Hostile::start().await);
        registry.deed("/v2/app/manifests/1", deed);
        let error = registry.pull(&store, None).await.unwrap_err();
        assert!(error.contains(wanted), "{name}: {error}");
        assert_eq!(store.files(), Vec::<String>::new(), "{name}");
    }
}

const OTHER_DIGEST: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.wasm.config.v0+json","digest":"sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e","size":2},"layers":[]}"#;

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again() {
    let (store, registry) = (Store::new(), Hostile::start().await);
    registry.offer(&module("busy"), |content| Deed::After(2, 503, "Retry-After: 0\r\n", content));
    registry.pull(&store, None).await.unwrap();
}

#[tokio::test]
async fn a_token_is_fetched_and_credentials_follow_no_redirect() {
    let (store, registry, storage) = (Store::new(), Hostile::start().await, Hostile::start().await);
    let secret = module("secret");
    let elsewhere = format!("http://127.0.0.1:{}/stored?signature=s", storage.port);
    storage.deed("/stored", Deed::Send(secret.clone()));
    let path = registry.offer(&secret, |_| Deed::Redirect(elsewhere));
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{}/token\",service=\"reg\"\r\n", registry.port);
    registry.deed("/v2/", Deed::Status(401, challenge.leak(), ""));
    registry.deed("/token", Deed::Send(br#"{"access_token":"t0ken"}"#.to_vec()));
    // {"username":"u","password":"p"}
    registry.pull(&store, Some("eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ==")).await.unwrap();
    assert!(registry.seen("/token")[0].contains("Basic dTpw"), "the token server is shown the name");
    assert!(registry.seen("/v2/app/manifests/1")[0].contains("Bearer t0ken"));
    assert!(registry.seen(&path)[0].contains("Bearer t0ken"));
    assert_eq!(storage.seen("/stored"), ["/stored None None"], "nothing of it reached the storage");
}

#[tokio::test]
async fn many_that_wait_for_one_image_wait_for_one_pull() {
    let (store, registry) = (Arc::new(Store::new()), Hostile::start().await);
    let path = registry.offer(&module("shared"), Deed::Send);
    let pulls = (0..50).map(|_| {
        let (store, reference) = (store.clone(), format!("127.0.0.1:{}/app:1", registry.port));
        tokio::spawn(async move { store.images.ensure(PullRequest { reference, ..PullRequest::default() }).await })
    });
    for pull in pulls.collect::<Vec<_>>() {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(registry.seen(&path).len(), 1);
}

#[tokio::test]
async fn images_that_nothing_keeps_go_after_a_while() {
    let (store, registry) = (Store::new(), Hostile::start().await);
    registry.offer(&module("unused"), Deed::Send);
    let image = registry.pull(&store, None).await.unwrap();
    let name = format!("127.0.0.1:{}/app:1", registry.port);
    let later = |hours: u64| wsw_api::Time(crate::shim::now().0 + hours * 3_600 * wsw_api::time::SECOND);
    let collect = |running: &[&str], named: &[&str], now| {
        store.images.collect(running.iter().map(|text| (*text).to_owned()).collect(), named.iter().map(|text| (*text).to_owned()).collect(), now)
    };
    assert_eq!(collect(&[], &[], later(9)).await.unwrap(), 0, "it has a tag");
    store.images.tag(&image, "kept:1").await.unwrap();
    store.images.remove(&name, false, BTreeMap::new()).await.unwrap();
    store.images.remove("kept:1", true, BTreeMap::from([(image.clone(), "t".into())])).await.unwrap();
    assert_eq!(collect(&[&image], &[], later(20)).await.unwrap(), 0, "a task runs it");
    assert_eq!(collect(&[], &[&image], later(40)).await.unwrap(), 0, "a service names it");
    assert_eq!(collect(&[], &[], later(40)).await.unwrap(), 0, "it was just in use");
    assert_eq!(collect(&[], &[], later(42)).await.unwrap(), 1);
    assert_eq!(store.files(), Vec::<String>::new());
}
