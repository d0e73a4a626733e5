//! Names, ids and removal, in Docker's words.

use super::fixture::*;
use crate::images::{Prune, Removed};
use std::collections::BTreeMap;

fn no_tasks() -> BTreeMap<String, String> {
    BTreeMap::new()
}

#[tokio::test]
async fn images_are_found_by_name_digest_and_unique_prefix() {
    let store = Store::new();
    store.load(artifact("app:latest", &module("m"))).await.unwrap();
    let digest = store.images.resolve("app").unwrap().digest;
    let hex = &digest[7..];
    for reference in [
        "app",
        "app:latest",
        "docker.io/library/app:latest",
        &format!("app@{digest}"),
        &format!("app:latest@{digest}"),
        &digest,
        hex,
        &hex[..12],
        &format!("sha256:{}", &hex[..6]),
    ] {
        assert_eq!(store.images.resolve(reference).unwrap().digest, digest, "{reference}");
    }
    let other = "sha256:".to_owned() + &"0".repeat(64);
    for reference in ["app:v2", "other", &other, &format!("app:latest@{other}")] {
        let error = store.images.resolve(reference).unwrap_err();
        assert_eq!((error.class, error.message), (wsw_api::Class::NotFound, format!("No such image: {reference}")));
    }
    assert_eq!(store.images.resolve("App").unwrap_err().class, wsw_api::Class::InvalidArgument);
}

#[tokio::test]
async fn a_name_moves_to_the_newer_image_and_the_older_one_stays_by_digest() {
    let store = Store::new();
    store.load(artifact("app:latest", &module("one"))).await.unwrap();
    let first = store.images.resolve("app").unwrap();
    store.load(artifact("app:latest", &module("two"))).await.unwrap();
    assert_ne!(store.images.resolve("app").unwrap().digest, first.digest);
    let old = store.images.resolve(&format!("app:latest@{}", first.digest)).unwrap();
    assert_eq!(old.tags, Vec::<String>::new());
    assert_eq!(store.images.remove(&first.digest, false, no_tasks()).await.unwrap(), [Removed::Deleted(first.digest)]);
}

#[tokio::test]
async fn files_go_with_the_last_image_that_needs_them() {
    let store = Store::new();
    store.load(artifact("app:latest", &module("m"))).await.unwrap();
    store.load(saved(&["other:1"], &serde_json::json!({"architecture": "wasm", "os": "wasi"}), &[tar(&[("a.wasm", &module("m"))])])).await.unwrap();
    let (app, other) = (store.images.resolve("app").unwrap(), store.images.resolve("other:1").unwrap());
    assert_eq!(app.module_digest, other.module_digest);
    let removed = store.images.remove("app", false, no_tasks()).await.unwrap();
    assert_eq!(removed, [Removed::Untagged("app:latest".into()), Removed::Deleted(app.digest)]);
    assert!(store.files().iter().any(|file| file.starts_with("compiled/")));
    let store = store.again();
    store.images.remove(&other.digest[7..19], false, no_tasks()).await.unwrap();
    assert_eq!((store.files(), store.images.list()), (vec![], vec![]));
    assert_eq!(store.images.remove("app", true, no_tasks()).await.unwrap_err().message, "No such image: app");
}

#[tokio::test]
async fn an_image_in_use_is_kept_unless_forced() {
    let store = Store::new();
    let config = serde_json::json!({"architecture": "wasm", "os": "wasi"});
    store.load(saved(&["a:1", "a:2"], &config, &[tar(&[("a.wasm", &module("m"))])])).await.unwrap();
    let digest = store.images.resolve("a:1").unwrap().digest;
    let in_use = BTreeMap::from([(digest.clone(), "0123456789abcdef".to_owned())]);
    assert_eq!(store.images.remove(&digest, false, no_tasks()).await.unwrap_err().class, wsw_api::Class::Conflict);
    assert_eq!(store.images.remove("a:2", false, in_use.clone()).await.unwrap(), [Removed::Untagged("a:2".into())]);
    let error = store.images.remove("a:1", false, in_use.clone()).await.unwrap_err();
    assert_eq!(error.class, wsw_api::Class::Conflict);
    let short = &digest[7..19];
    let wanted = format!("conflict: unable to remove repository reference \"a:1\" (must force) - container 0123456789ab is using its referenced image {short}");
    assert_eq!(error.message, wanted);
    let error = store.images.remove(&digest, true, in_use.clone()).await.unwrap_err();
    assert_eq!(error.message, format!("conflict: unable to delete {short} (cannot be forced) - image is being used by running container 0123456789ab"));
    // Forced away under a task it stays, without a name.
    assert_eq!(store.images.remove("a:1", true, in_use.clone()).await.unwrap(), [Removed::Untagged("a:1".into())]);
    assert_eq!(store.images.resolve(&digest).unwrap().tags, Vec::<String>::new());
    let prune = || Prune::default();
    assert_eq!(store.images.prune(prune(), in_use).await.unwrap(), (vec![], 0));
    let (gone, freed) = store.images.prune(prune(), no_tasks()).await.unwrap();
    assert_eq!(gone, [Removed::Deleted(digest)]);
    assert!(freed > 0 && store.files().is_empty());
}

#[tokio::test]
async fn debris_of_a_crash_is_swept_and_a_newer_index_is_refused() {
    let store = Store::new();
    store.load(artifact("app:latest", &module("m"))).await.unwrap();
    let files = store.files();
    std::fs::write(store.dir.path().join("blobs/sha256/debris"), b"x").unwrap();
    std::fs::create_dir(store.dir.path().join("tmp/load")).unwrap();
    let store = store.again();
    assert_eq!(store.files(), files);
    std::fs::write(store.dir.path().join("index.json"), r#"{"version":2}"#).unwrap();
    let error = crate::images::index::Index::read(&store.dir.path().join("index.json")).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}
