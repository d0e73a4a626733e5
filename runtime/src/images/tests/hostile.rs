//! Archives that are broken or meant to break something: a clear error, and nothing changes.

use super::fixture::*;
use serde_json::json;

async fn refused(archive: Vec<u8>, wanted: &str) {
    let store = Store::new();
    store.load(artifact("kept:1", &module("kept"))).await.unwrap();
    let files = store.files();
    let error = store.load(archive).await.unwrap_err();
    assert!(error.contains(wanted), "{error:?} should say {wanted:?}");
    assert_eq!((store.files(), store.images.count()), (files, 1), "{wanted}");
}

#[tokio::test]
async fn names_that_lead_out_are_refused() {
    for name in ["../x", "a/../../x", "/etc/x"] {
        refused(tar(&[(name, b"x")]), "archive: entry").await;
    }
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "manifest.json", b"", tar::EntryType::Symlink, Some("../../etc/passwd"));
    refused(builder.into_inner().unwrap(), "leads out of the archive").await;
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "manifest.json", b"", tar::EntryType::Symlink, Some("manifest.json"));
    refused(builder.into_inner().unwrap(), "in a circle").await;
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "dev", b"", tar::EntryType::Char, None);
    refused(builder.into_inner().unwrap(), "is of a type").await;
    refused(tar(&[("index.json", b"{}"), ("index.json", b"{}")]), "appears twice").await;
}

#[tokio::test]
async fn what_is_no_archive_is_told() {
    refused(vec![], "no files").await;
    refused(b"hello".to_vec(), "archive:").await;
    refused(vec![b'x'; 4096], "archive:").await;
    refused(gzip(b"hello"), "archive:").await;
    refused(tar(&[("x", b"x")]), "neither index.json").await;
    refused(tar(&[("index.json", b"{")]), "index.json: ").await;
    refused(tar(&[("index.json", br#"{"schemaVersion":2,"manifests":[]}"#)]), "lists no image").await;
    refused(tar(&[("manifest.json", br#"[{"Config":"c","Layers":[]}]"#)]), "\"c\", named in manifest.json, is missing").await;
    refused(tar(&[("manifest.json", br#"[{"Config":"../c","Layers":[]}]"#)]), "leads out").await;
}

#[tokio::test]
async fn archives_that_are_cut_off_are_told_at_any_length() {
    let whole = artifact("app:1", &module(&"m".repeat(3_000)));
    let mut refused_at = 0;
    for length in (0..whole.len()).step_by(512).chain([100, 700, whole.len() - 1500]) {
        let store = Store::new();
        match store.load(whole[..length].to_vec()).await {
            Err(error) => {
                assert!(error.starts_with("archive: "), "{length}: {error}");
                assert_eq!(store.files(), Vec::<String>::new());
                refused_at = refused_at.max(length);
            }
            // All that the image needs came before the cut.
            Ok(names) => assert_eq!((names, store.images.count()), (vec!["app:1".to_owned()], 1)),
        }
    }
    assert!(refused_at > 3_000);
    let packed = gzip(&whole);
    refused(packed[..packed.len() / 2].to_vec(), "archive:").await;
}

#[tokio::test]
async fn blobs_that_are_not_what_they_claim_are_refused() {
    let mut layout = Layout::default();
    layout.image(Some("app:1"), (ARTIFACT_CONFIG, json!({})), &[(WASM, &module("m"))]);
    let good = layout.tar();
    let name = format!("blobs/sha256/{}", &crate::images::blobs::digest_of(&module("m"))[7..]);

    let mut missing = Layout { blobs: layout.blobs.clone(), manifests: layout.manifests.clone(), extra: vec![] };
    missing.blobs.retain(|blob| *blob != module("m"));
    refused(missing.tar(), "is missing").await;
    missing.extra.push((name, module("evil")));
    refused(missing.tar(), "does not match its digest").await;

    let mut resized = Layout { blobs: layout.blobs.clone(), manifests: layout.manifests.clone(), extra: vec![] };
    resized.manifests[0]["size"] = json!(1);
    refused(resized.tar(), "its descriptor says 1").await;
    let store = Store::new();
    store.load(good).await.unwrap();
}

#[tokio::test]
async fn one_bad_image_keeps_the_whole_archive_out() {
    let mut layout = Layout::default();
    layout.image(Some("good:1"), (ARTIFACT_CONFIG, json!({})), &[(WASM, &module("good"))]);
    layout.image(Some("worse:1"), (ARTIFACT_CONFIG, json!({})), &[(WASM, &module("bad"))]);
    refused(layout.tar(), "image worse:1: import").await;
}

#[tokio::test]
async fn a_record_of_names_that_is_too_large_is_not_read() {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "././@LongLink", &vec![b'a'; 70_000], tar::EntryType::GNULongName, None);
    refused(builder.into_inner().unwrap(), "larger than 64 KiB").await;
}

#[tokio::test]
async fn long_names_are_read() {
    let store = Store::new();
    let mut builder = tar::Builder::new(Vec::new());
    let name = format!("{}.wasm", "d/".repeat(120));
    let (content, config) = (module("long"), json!({"architecture": "wasm", "os": "wasi", "config": {"Entrypoint": [name]}}));
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, &name, content.as_slice()).unwrap();
    store.load(saved(&["long:1"], &config, &[builder.into_inner().unwrap()])).await.unwrap();
}
