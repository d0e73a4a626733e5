//! A registry that misbehaves, in one table: each row is one way, and what a pull makes of it. Whatever it is, nothing of it stays in the store.

use super::fixture::*;
use super::stand_in::{Deed, Hostile, says, status};
use crate::images::blobs::digest_of;
use serde_json::json;

/// What comes of a row.
enum Outcome {
    Pulled,
    /// Fails with these words.
    Fails(&'static str),
}
use Outcome::{Fails, Pulled};

/// Where the registry misbehaves; everything else is as it should be.
enum Place {
    Greeting,
    Manifest,
    Layer,
    Token,
}

struct Row(&'static str, Place, Deed, Outcome);

const MANIFEST: &str = "/v2/app/manifests/1";
const ROUND: &str = "/v2/app/manifests/round";
/// {"username":"u","password":"p"}
const LOGIN: &str = "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ==";

fn good() -> Vec<u8> {
    module(&"g".repeat(5_000))
}

fn manifest() -> Vec<u8> {
    let config = json!({"architecture": "wasm", "os": "wasip1"}).to_string();
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": ARTIFACT_CONFIG, "digest": digest_of(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": WASM, "digest": digest_of(&good()), "size": good().len()}],
    })
    .to_string()
    .into_bytes()
}

async fn check(Row(name, place, deed, outcome): Row) {
    let (store, registry) = (Store::new(), Hostile::start().await);
    registry.deed(ROUND, Deed::Redirect(ROUND.into()));
    let layer = registry.offer(&good(), Deed::Send);
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{}/token\",service=\"reg\"", registry.port);
    let path = match place {
        Place::Greeting => "/v2/",
        Place::Manifest => MANIFEST,
        Place::Layer => &layer,
        Place::Token => {
            registry.deed("/v2/", says(401, &challenge));
            "/token"
        }
    };
    registry.deed(path, deed);
    match (registry.pull(&store, Some(LOGIN)).await, outcome) {
        (Ok(_), Pulled) => assert_eq!(store.images.count(), 1, "{name}"),
        (Err(error), Fails(words)) => {
            assert!(error.contains(words), "{name}: {error}");
            assert!(!error.contains("dTpw") && !error.contains("signature"), "{name}: a secret is told: {error}");
            assert_eq!((store.images.count(), store.files()), (0, vec![]), "{name}");
            let left = std::fs::read_dir(store.dir.path().join("downloads")).unwrap().map(|entry| entry.unwrap().file_name());
            let left = left.filter(|file| !file.to_string_lossy().ends_with(".part")).collect::<Vec<_>>();
            assert!(left.len() <= 1, "{name}: only the configuration may be whole: {left:?}");
            // It comes to its senses: the next pull finds nothing in its way.
            registry.deed("/v2/", says(200, "X: y"));
            registry.offer(&good(), Deed::Send);
            registry.pull(&store, Some(LOGIN)).await.unwrap_or_else(|error| panic!("{name}: afterwards: {error}"));
        }
        (Ok(_), Fails(words)) => panic!("{name}: it was pulled; {words:?} was to be told"),
        (Err(error), Pulled) => panic!("{name}: {error}"),
    }
}

async fn all(rows: Vec<Row>) {
    futures_util::future::join_all(rows.into_iter().map(check)).await;
}

#[tokio::test]
async fn layers() {
    let (content, length) = (good(), good().len() as u64);
    let then_good = |first: Deed| Deed::InTurn(vec![first, Deed::Send(good())]);
    let cut_then = |then: Deed| Deed::InTurn(vec![Deed::Cut(good(), 2_000), then, Deed::Send(good())]);
    let lies = Fails("the manifest says 5008");
    let row = |name, deed, outcome| Row(name, Place::Layer, deed, outcome);
    all(vec![
        row("other content", Deed::Send(vec![b'x'; content.len()]), Fails("verification failed")),
        row("a longer length", Deed::Claim(content.clone(), length + 1), Fails("the manifest says 5008")),
        row("a shorter length", Deed::Claim(content[..10].to_vec(), 10), Fails("the manifest says 5008")),
        row("more than it should", Deed::Send([content.clone(), vec![0; 9]].concat()), Fails("the manifest says 5008")),
        row("without an end", Deed::Endless, lies),
        row("nothing after the head", Deed::Stall(content.clone(), 0), Fails("no data came for too long")),
        row("nothing after the first half", Deed::Stall(content.clone(), 2_000), Fails("no data came for too long")),
        row("not even a head", Deed::Silent, Fails("no data came for too long")),
        row("a pause between bytes, once", then_good(Deed::Stall(content.clone(), 2_000)), Pulled),
        row("no head, once", then_good(Deed::Silent), Pulled),
        row("cut, and goes on", cut_then(Deed::Send(content.clone())), Pulled),
        row("cut, and begins anew", cut_then(Deed::Whole(content.clone())), Pulled),
        row("cut, and knows no ranges", cut_then(status(416)), Pulled),
        row("cut, and says 500 once", cut_then(status(500)), Pulled),
        row("cut each time at the same byte", Deed::Cut(content.clone(), 2_000), Fails("end")),
        row("cut before the first byte, each time", Deed::Cut(content.clone(), 0), Fails("end")),
        row("401 without a challenge", status(401), Fails("a login of a kind that is not known")),
        row("403", status(403), Fails("pull access denied for 127.0.0.1")),
        row("404", status(404), Fails("blob unknown to registry")),
        row("429 with a long wait", says(429, "Retry-After: 999"), Fails("toomanyrequests")),
        row(
            "429 until a date far away",
            says(429, "Date: Wed, 21 Oct 2015 07:00:00 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT"),
            Fails("toomanyrequests"),
        ),
        row("429 for a second", then_good(says(429, "Retry-After: 1")), Pulled),
        row("429 until a date", then_good(says(429, "Date: Wed, 21 Oct 2015 07:27:59 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT")), Pulled),
        row("429 without a word", then_good(status(429)), Pulled),
        row("503 twice", Deed::InTurn(vec![says(503, "Retry-After: 0"), says(503, "Retry-After: 0"), Deed::Send(content)]), Pulled),
        row("500 for ever", status(500), Fails("unexpected status 500")),
        row("in circles", Deed::Redirect(ROUND.into()), Fails("redirects")),
        row("to nowhere", Deed::Redirect("http://127.0.0.1:1/x?signature=s".into()), Fails("refused")),
    ])
    .await;
}

#[tokio::test]
async fn manifests() {
    let document = |value: serde_json::Value| Deed::Send(value.to_string().into_bytes());
    let refusal = |code, body: &str| Deed::Status(code, String::new(), body.into());
    let descriptor = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(b"x"), "size": 1});
    let image = |config: serde_json::Value, layers: Vec<serde_json::Value>| document(json!({"schemaVersion": 2, "config": config, "layers": layers}));
    let sized = |size: serde_json::Value| json!({"mediaType": WASM, "digest": digest_of(b"y"), "size": size});
    let then_good = |first: Deed| Deed::InTurn(vec![first, Deed::Send(manifest())]);
    let row = |name, deed, outcome| Row(name, Place::Manifest, deed, outcome);
    let index = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest_of(b"i"), "size": 1});
    let many = vec![json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest_of(b"m"), "size": 1}); 100_000];
    all(vec![
        row("500 for ever", status(500), Fails("unexpected status 500")),
        row("500 once", then_good(status(500)), Pulled),
        row("429 once", then_good(says(429, "Retry-After: 0")), Pulled),
        row("403", refusal(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#), Fails("pull access denied for 127.0.0.1")),
        row("404 in HTML", refusal(404, "<html>"), Fails("not found: manifest unknown")),
        row("404 of an unknown name", refusal(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}"#), Fails("not found: name unknown: x")),
        row("401 without a challenge", status(401), Fails("a login of a kind that is not known")),
        row("401 of an unknown kind", says(401, "WWW-Authenticate: Negotiate"), Fails("a login of a kind that is not known")),
        row("401 that cannot be read", says(401, "WWW-Authenticate: Bearer realm=\"x"), Fails("a login of a kind that is not known")),
        row("401 without a realm", says(401, "WWW-Authenticate: Bearer service=\"x\""), Fails("a login of a kind that is not known")),
        row("401 with a realm that is none", says(401, "WWW-Authenticate: Bearer realm=\"::\""), Fails("a token server that cannot be used")),
        row("401 with a realm elsewhere", says(401, "WWW-Authenticate: Bearer realm=\"file:///etc/passwd\""), Fails("its scheme is \"file\"")),
        row("401 to whatever is shown", says(401, "WWW-Authenticate: Basic realm=\"x\""), Fails("pull access denied")),
        row("an endless one", Deed::Endless, Fails("larger than 4 MiB")),
        row("one of 100,000 entries", document(json!({"schemaVersion": 2, "manifests": many})), Fails("larger than 4 MiB")),
        row("not even a head", Deed::Silent, Fails("no data came for too long")),
        row("half of it, then nothing", Deed::Stall(manifest(), 100), Fails("no data came for too long")),
        row("half of it, once", then_good(Deed::Cut(manifest(), 100)), Pulled),
        row("another digest in the header", Deed::With(format!("Docker-Content-Digest: {}\r\n", digest_of(b"z")), manifest()), Fails("sent other content")),
        row("no JSON", Deed::Send(b"<html>".to_vec()), Fails("manifest sha256:")),
        row("deep JSON", Deed::Send([&b"{\"a\":"[..], &[b'['; 1_000_000]].concat()), Fails("manifest sha256:")),
        row("an index of nothing", document(json!({"schemaVersion": 2, "manifests": []})), Fails("no matching manifest")),
        row("an index of what is not there", document(json!({"schemaVersion": 2, "manifests": [index]})), Fails("not found")),
        row("one of other digests", Deed::Send(OTHER_DIGEST.into()), Fails("only sha256")),
        row("129 layers", image(descriptor.clone(), vec![sized(1.into()); 129]), Fails("lists 129 layers; at most 128")),
        row("a layer of all the bytes there are", image(descriptor.clone(), vec![sized(u64::MAX.into())]), Fails("at most 8192 MiB of one")),
        row("many large layers", image(descriptor.clone(), vec![sized((8_u64 << 30).into()); 3]), Fails("16384 of an image")),
        row("a layer of less than nothing", image(descriptor, vec![sized((-1).into())]), Fails("manifest sha256:")),
        row("in circles", Deed::Redirect(ROUND.into()), Fails("redirects")),
    ])
    .await;
}

const OTHER_DIGEST: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.wasm.config.v0+json","digest":"sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e","size":2},"layers":[]}"#;

#[tokio::test]
async fn greetings_and_token_servers() {
    let greeting = |name, deed, outcome| Row(name, Place::Greeting, deed, outcome);
    let token = |name, deed, outcome| Row(name, Place::Token, deed, outcome);
    let text = |text: &str| Deed::Send(text.as_bytes().to_vec());
    let gives = || text(r#"{"token":"t0ken"}"#);
    all(vec![
        greeting("not even a head", Deed::Silent, Fails("no data came for too long")),
        greeting("500 for ever", status(500), Fails("unexpected status 500")),
        greeting("503 once", Deed::InTurn(vec![status(503), says(200, "X: y")]), Pulled),
        greeting("429 for ever", status(429), Fails("toomanyrequests")),
        greeting("404, as some do", status(404), Pulled),
        greeting("403, as some do", status(403), Pulled),
        greeting("in circles", Deed::Redirect(ROUND.into()), Fails("redirects")),
        greeting("an endless answer", Deed::Endless, Pulled),
        token("gives one", gives(), Pulled),
        token("500 once", Deed::InTurn(vec![status(500), gives()]), Pulled),
        token("500 for ever", status(500), Fails("unexpected status 500")),
        token("401", status(401), Fails("unauthorized: incorrect username or password")),
        token("403", status(403), Fails("unauthorized: incorrect username or password")),
        token("404", status(404), Fails("not found")),
        token("says nothing", Deed::Silent, Fails("no data came for too long")),
        token("no JSON", text("<html>"), Fails("answered without a token")),
        token("no token", text(r#"{"expires_in":60}"#), Fails("answered without a token")),
        token("a token that no header can hold", text(r#"{"token":"a\nb"}"#), Fails("characters that no header can")),
        token("an endless token", Deed::Endless, Fails("answered without a token")),
        token("in circles", Deed::Redirect(ROUND.into()), Fails("redirects")),
    ])
    .await;
}
