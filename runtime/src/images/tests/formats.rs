//! Every artifact format that is taken, and those that are refused by name.

use super::fixture::*;
use serde_json::json;
use wsw_api::Time;
use wsw_api::shim::Kind;

#[tokio::test]
async fn an_artifact_goes_in_and_is_there_after_a_restart() {
    let store = Store::new();
    assert_eq!(store.load(artifact("app:latest", &module("m"))).await.unwrap(), ["app:latest"]);
    let store = store.again();
    let image = store.images.resolve("app").unwrap();
    assert_eq!(image.tags, ["app:latest"]);
    assert_eq!((image.platform.os.as_str(), image.platform.architecture.as_str()), ("wasi", "wasm"));
    assert_eq!((image.wasm_kind, image.entrypoint.as_slice()), (Some(Kind::Command), &["app.wasm".to_owned()][..]));
    assert_eq!(image.created, Some(Time(1_767_323_045_000_000_000)));
    assert_eq!(image.layers, std::slice::from_ref(&image.module_digest));
    let manifest = store.images.manifest("app").await.unwrap();
    assert_eq!(manifest.len() as u64, image.manifest_size);
    assert!(image.size > image.manifest_size);
}

#[tokio::test]
async fn gzip_archives_are_read_and_the_same_image_again_changes_nothing() {
    let store = Store::new();
    store.load(gzip(&artifact("app:latest", &module("m")))).await.unwrap();
    let files = store.files();
    store.load(artifact("app:latest", &module("m"))).await.unwrap();
    assert_eq!(store.files(), files);
    assert_eq!(store.images.count(), 1);
}

#[tokio::test]
async fn layers_of_older_formats_are_the_module() {
    let store = Store::new();
    let mut layout = Layout::default();
    let title = json!({"architecture": "wasm", "os": "wasip1", "config": {"Entrypoint": ["tool.wasm"], "Cmd": ["run"], "Env": ["A=1"], "WorkingDir": "/w"}});
    layout.image(Some("runwasi:1"), (OCI_CONFIG, title), &[("application/vnd.bytecodealliance.wasm.component.layer.v0+wasm", &module("b"))]);
    layout.image(Some("krustlet:1"), ("application/vnd.wasm.config.v1+json", json!({})), &[("application/vnd.wasm.content.layer.v1+wasm", &module("f"))]);
    let mut names = store.load(layout.tar()).await.unwrap();
    names.sort();
    assert_eq!(names, ["krustlet:1", "runwasi:1"]);
    let image = store.images.resolve("runwasi:1").unwrap();
    assert_eq!((image.entrypoint[0].as_str(), image.cmd[0].as_str(), image.env[0].as_str(), image.working_dir.as_str()), ("tool.wasm", "run", "A=1", "/w"));
}

#[tokio::test]
async fn scratch_images_give_the_file_that_the_upper_layer_leaves() {
    let store = Store::new();
    let lower = gzip(&tar(&[("app.wasm", &module("old")), ("gone.wasm", &module("gone")), ("dir/x.wasm", &module("x"))]));
    let upper = gzip(&tar(&[("./app.wasm", &module("new")), (".wh.gone.wasm", b""), ("dir/.wh..wh..opq", b"")]));
    let config = json!({"architecture": "wasm", "os": "wasi", "config": {"Entrypoint": ["/app.wasm"]}});
    let mut layout = Layout::default();
    layout.image(Some("scratch:1"), (OCI_CONFIG, config), &[(LAYER, &lower), (LAYER, &upper)]);
    layout.image(Some("bare:1"), (OCI_CONFIG, json!({"architecture": "wasm32", "os": "wasi"})), &[(LAYER, &lower), (LAYER, &upper)]);
    store.load(layout.tar()).await.unwrap();
    let new = crate::images::blobs::digest_of(&module("new"));
    assert_eq!(store.images.resolve("scratch:1").unwrap().module_digest, new);
    let bare = store.images.resolve("bare:1").unwrap();
    assert_eq!((bare.module_digest, bare.entrypoint), (new, vec!["/app.wasm".to_owned()]));
}

#[tokio::test]
async fn an_archive_of_the_older_docker_save_gets_a_manifest() {
    let store = Store::new();
    let config = json!({"architecture": "wasm", "os": "wasip1", "config": {"Cmd": ["a.wasm"], "WorkingDir": "/srv"}});
    let archive = saved(&["me/a:2", "me/a:latest"], &config, &[tar(&[("srv/a.wasm", &module("a"))])]);
    assert_eq!(store.load(archive.clone()).await.unwrap(), ["me/a:2", "me/a:latest"]);
    let image = store.images.resolve("docker.io/me/a").unwrap();
    assert_eq!(image.tags, ["me/a:2", "me/a:latest"]);
    store.load(archive).await.unwrap();
    assert_eq!(store.images.count(), 1);
}

#[tokio::test]
async fn names_of_docker_save_reach_the_oci_manifest_beside_it() {
    let store = Store::new();
    let mut layout = Layout::default();
    let digest = layout.image(None, (ARTIFACT_CONFIG, json!({"architecture": "wasm"})), &[(WASM, &module("m"))]);
    let config = layout.blobs[0].clone();
    let path = format!("blobs/sha256/{}", &crate::images::blobs::digest_of(&config)[7..]);
    layout.extra.push(("manifest.json".into(), json!([{"Config": path, "RepoTags": ["both:1"], "Layers": []}]).to_string().into_bytes()));
    assert_eq!(store.load(layout.tar()).await.unwrap(), ["both:1"]);
    assert_eq!(store.images.resolve("both:1").unwrap().digest, digest);
}

#[tokio::test]
async fn of_an_index_of_platforms_the_wasm_one_is_taken() {
    let store = Store::new();
    let mut layout = Layout::default();
    let manifests = [("linux", "amd64", "l"), ("wasi", "wasm", "w")].map(|(os, architecture, text)| {
        let manifest = layout.manifest((ARTIFACT_CONFIG, json!({"architecture": architecture})), &[(WASM, &module(text))]);
        let mut descriptor = layout.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        descriptor["platform"] = json!({"os": os, "architecture": architecture});
        descriptor
    });
    let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    let mut descriptor = layout.blob("application/vnd.oci.image.index.v1+json", index.as_bytes());
    descriptor["annotations"] = json!({"io.containerd.image.name": "docker.io/library/multi:3"});
    layout.manifests.push(descriptor);
    assert_eq!(store.load(layout.tar()).await.unwrap(), ["multi:3"]);
    assert_eq!(store.images.resolve("multi:3").unwrap().module_digest, crate::images::blobs::digest_of(&module("w")));
}

const SPIN: &str = "application/vnd.fermyon.spin.application.v1+config";

#[tokio::test]
async fn a_spin_application_of_one_component_is_that_component() {
    let store = Store::new();
    let mut layout = Layout::default();
    layout.image(Some("spin:1"), (OCI_CONFIG, json!({"architecture": "wasm", "os": "Wasip1"})), &[(SPIN, b"{}"), (WASM, &module("only"))]);
    store.load(layout.tar()).await.unwrap();
    assert_eq!(store.images.resolve("spin:1").unwrap().module_digest, crate::images::blobs::digest_of(&module("only")));
}

#[tokio::test]
async fn images_of_other_platforms_are_kept_and_say_that_they_do_not_run() {
    let store = Store::new();
    let linux = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}});
    store.load(saved(&["nginx:1"], &linux, &[tar(&[("bin/sh", b"\x7fELF")])])).await.unwrap();
    let image = store.images.resolve("nginx:1").unwrap();
    assert_eq!((image.platform.os.as_str(), image.wasm_kind, image.diff_ids.len()), ("linux", None, 1));
    assert_eq!(image.describe(), "image nginx:1 is a Linux image (linux/amd64)");
}

#[tokio::test]
async fn an_entry_point_may_be_a_link_and_name_the_start() {
    let store = Store::new();
    let mut lower = tar::Builder::new(Vec::new());
    append(&mut lower, "opt/app-1.wasm", &module("linked"), tar::EntryType::Regular, None);
    append(&mut lower, "opt/again.wasm", b"", tar::EntryType::Link, Some("opt/app-1.wasm"));
    append(&mut lower, "dev/null", b"", tar::EntryType::Char, None);
    let mut upper = tar::Builder::new(Vec::new());
    append(&mut upper, "current", b"", tar::EntryType::Symlink, Some("opt"));
    append(&mut upper, "app.wasm", b"", tar::EntryType::Symlink, Some("../../current/again.wasm"));
    let layers = [gzip(&lower.into_inner().unwrap()), zstd(&upper.into_inner().unwrap())];
    let config = json!({"architecture": "wasm", "os": "wasi", "config": {"Entrypoint": ["/app.wasm#_start"]}});
    let mut layout = Layout::default();
    layout.image(Some("linked:1"), (OCI_CONFIG, config), &[(LAYER, &layers[0]), ("application/vnd.oci.image.layer.v1.tar+zstd", &layers[1])]);
    store.load(layout.tar()).await.unwrap();
    assert_eq!(store.images.resolve("linked:1").unwrap().module_digest, crate::images::blobs::digest_of(&module("linked")));
}

#[tokio::test]
async fn what_this_version_does_not_run_is_refused_by_name() {
    let wasm = json!({"architecture": "wasm", "os": "wasi"});
    let elf: &[u8] = b"\x7fELF\x02\x01";
    let layer = tar(&[("a.wasm", &module("a")), ("b.wasm", &module("b"))]);
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (saved(&["two:1"], &wasm, &[layer]), "several .wasm files (/a.wasm, /b.wasm)"),
        (saved(&["none:1"], &wasm, &[]), "no .wasm file"),
        (artifact("elf:1", elf), "image elf:1: the module is a native or precompiled (ELF) file"),
        (artifact("text:1", b"(module)"), "image text:1: the module is not Wasm"),
        (artifact("empty:1", b""), "image empty:1: the module is empty"),
        (artifact("imports:1", &module("bad")), "image imports:1: import wasi:nn/tensor is not served"),
    ];
    let mut layout = Layout::default();
    layout.image(Some("two:1"), (ARTIFACT_CONFIG, json!({})), &[(WASM, &module("a")), (WASM, &module("b"))]);
    cases.push((layout.tar(), "exactly one"));
    let mut layout = Layout::default();
    layout.image(Some("spin:1"), (OCI_CONFIG, wasm), &[(WASM, &module("a")), (WASM, &module("b")), (SPIN, b"{}")]);
    cases.push((layout.tar(), "image spin:1 is a Spin application of 2 components and 0 files"));
    for (archive, wanted) in cases {
        let store = Store::new();
        let error = store.load(archive).await.unwrap_err();
        assert!(error.contains(wanted), "{error}");
        assert_eq!((store.images.count(), store.files()), (0, vec![]), "{wanted}");
    }
}
