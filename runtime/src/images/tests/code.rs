//! Compiled code: bounded, kept for who uses it, made again when it is gone.

use super::fixture::*;
use std::collections::BTreeMap;

/// A module whose code takes this share of the bound.
fn large(name: &str, part: u64) -> Vec<u8> {
    module(&name.repeat((CODE_LIMIT / part) as usize / name.len()))
}

fn code(store: &Store) -> usize {
    store.files().iter().filter(|file| file.starts_with("compiled/")).count()
}

#[tokio::test]
async fn code_beyond_the_bound_goes_and_comes_back() {
    let store = Store::new();
    for name in ["a", "b", "c"] {
        store.load(artifact(&format!("{name}:1"), &large(name, 5))).await.unwrap();
    }
    let found = |name: &str| store.images.resolve(&format!("{name}:1")).unwrap();
    // The oldest of them is the one in use; the next has just been asked for.
    let (path_a, held) = store.images.artifact(&found("a")).await.unwrap();
    let (path_b, let_go) = store.images.artifact(&found("b")).await.unwrap();
    drop(let_go);
    store.load(artifact("d:1", &large("d", 2))).await.unwrap();
    assert!(path_a.exists() && path_b.exists());
    assert_eq!(code(&store), 3, "that of c went: it was used longest ago");
    assert_eq!(store.images.count(), 4, "the image stays");
    let (path_c, _) = store.images.artifact(&found("c")).await.unwrap();
    assert!(path_c.exists(), "it is made again when a task wants it");
    assert!(path_a.exists(), "what a task has stays");
    drop(held);
    let mut tasks = store.images.code().into_iter().map(|code| code.tasks);
    assert!(tasks.all(|tasks| tasks == 0));
}

#[tokio::test]
async fn pruning_leaves_the_code_that_tasks_have() {
    let store = Store::new();
    for name in ["a", "b"] {
        store.load(artifact(&format!("{name}:1"), &module(name))).await.unwrap();
    }
    let image = store.images.resolve("a:1").unwrap();
    let held = store.images.artifact(&image).await.unwrap();
    let again = store.images.hold_code(&image.module_digest);
    assert_eq!(store.images.code().iter().map(|code| code.tasks).sum::<u64>(), 2);
    drop(again);
    assert_eq!(store.images.prune_code(Some(wsw_api::Time(0))).len(), 0);
    assert_eq!(store.images.prune_code(None).len(), 1);
    assert!(held.0.exists());
    drop(held);
    assert_eq!((store.images.prune_code(None).len(), code(&store)), (1, 0));
    // With the image goes its code.
    store.images.artifact(&image).await.unwrap();
    store.images.remove("a:1", false, BTreeMap::new()).await.unwrap();
    assert_eq!(code(&store), 0);
}

#[tokio::test]
async fn what_a_dead_daemon_left_goes_at_the_next_start() {
    let store = Store::new();
    store.load(artifact("kept:1", &module("kept"))).await.unwrap();
    let files = store.files();
    let stray = format!("{:064}", 7);
    for path in [format!("compiled/{stray}"), format!("blobs/sha256/{stray}"), ".tmp-1-1".into(), "tmp/0".into()] {
        std::fs::write(store.dir.path().join(path), "x").unwrap();
    }
    std::fs::write(store.dir.path().join("downloads").join(&stray), "spoilt").unwrap();
    let store = store.again();
    assert_eq!(store.files(), files);
    assert!(!store.dir.path().join(".tmp-1-1").exists());
    // It was finished by a daemon that may not have seen it reach the disk.
    let left = std::fs::read_dir(store.dir.path().join("downloads")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.collect::<Vec<_>>(), [format!("{stray}.part")]);
}
