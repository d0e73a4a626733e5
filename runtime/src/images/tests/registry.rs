//! Pulls from a registry that is told what to do: resuming, sharing, credentials, and images that nothing keeps.

use super::fixture::*;
use super::stand_in::{Deed, Hostile};
use crate::images::blobs::digest_of;
use crate::images::{Prune, PullRequest, Sink};
use std::collections::BTreeMap;
use std::sync::Arc;

#[tokio::test]
async fn a_blob_goes_on_where_it_was_cut() {
    let (store, registry) = (Store::new(), Hostile::start().await);
    let module = module(&"m".repeat(100_000));
    let path = registry.offer(&module, |content| Deed::InTurn(vec![Deed::Cut(content.clone(), 40_000), Deed::Send(content)]));
    let image = registry.pull(&store, None).await.unwrap();
    assert_eq!(store.images.resolve(&image).unwrap().module_digest, digest_of(&module));
    let asked = registry.seen(&path);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].contains("bytes=40000-"), "it began where the first connection ended: {asked:?}");
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
async fn a_token_is_fetched_and_credentials_follow_no_redirect() {
    let (store, registry, storage) = (Store::new(), Hostile::start().await, Hostile::start().await);
    let secret = module("secret");
    let elsewhere = format!("http://127.0.0.1:{}/stored?signature=s", storage.port);
    storage.deed("/stored", Deed::Send(secret.clone()));
    let path = registry.offer(&secret, |_| Deed::Redirect(elsewhere));
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{}/token\",service=\"reg\"\r\n", registry.port);
    registry.deed("/v2/", Deed::Status(401, challenge, String::new()));
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
async fn pulls_beside_each_other_share_each_blob() {
    let (store, registry) = (Arc::new(Store::new()), Hostile::start().await);
    let path = registry.offer(&module("shared"), Deed::Send);
    let pulls = (0..20).map(|_| {
        let (store, reference) = (store.clone(), format!("127.0.0.1:{}/app:1", registry.port));
        tokio::spawn(async move { store.images.pull(&PullRequest { reference, ..PullRequest::default() }, &Sink::default()).await })
    });
    for pull in pulls.collect::<Vec<_>>() {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(registry.seen(&path).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_beside_a_pull_takes_nothing_that_is_needed() {
    let (store, registry) = (Arc::new(Store::new()), Hostile::start().await);
    // Two images that share their layer: what one gives up the other needs.
    registry.offer(&module("shared"), Deed::Send);
    let mut second = registry.blobs_of(&module("shared"), Deed::Send);
    second["annotations"] = serde_json::json!({"a": "b"});
    registry.deed("/v2/app/manifests/2", Deed::Send(second.to_string().into_bytes()));
    let used = digest_of(second.to_string().as_bytes());
    for round in 0..30 {
        let pull = |tag: &str| PullRequest { reference: format!("127.0.0.1:{}/app:{tag}", registry.port), ..PullRequest::default() };
        let prune = Prune { all: true, ..Prune::default() };
        let (first, sink) = (pull("1"), Sink::default());
        let (second, _, pruned) = tokio::join!(
            // As a task does it: its image is in use from before the pull.
            store.images.ensure(pull("2")),
            store.images.pull(&first, &sink),
            store.images.prune(prune, BTreeMap::from([(used.clone(), "task".into())]))
        );
        pruned.unwrap();
        let image = store.images.resolve(&second.unwrap().image).unwrap_or_else(|error| panic!("{round}: {error}"));
        let (code, _held) = store.images.artifact(&image).await.unwrap();
        assert!(code.exists());
        for image in store.images.list() {
            for blob in store.images.snapshot().blobs_of(&image.digest) {
                store.images.blob(&blob).await.unwrap_or_else(|error| panic!("{round}: {error}"));
            }
        }
        store.images.prune(Prune { all: true, ..Prune::default() }, BTreeMap::new()).await.unwrap();
        assert_eq!(store.files(), Vec::<String>::new(), "{round}");
    }
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
