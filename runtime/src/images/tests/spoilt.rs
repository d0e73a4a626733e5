//! Archives spoilt by chance: bytes of the tar, and the JSON in it with sizes and digests that are right. Loaded or refused, and nothing is left of what was refused.

use super::fixture::*;
use serde_json::{Value, json};
use wsw_spoil::{Given, Spoiler, tries};

/// Mutants in a plain `cargo test`: a second or two.
const FEW: usize = 150;

fn config() -> Value {
    json!({"architecture": "wasm", "os": "wasip1", "created": "2026-01-02T03:04:05Z", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Entrypoint": ["/app.wasm"], "Cmd": ["a"], "Env": ["A=b"], "WorkingDir": "/", "Labels": {"a": "b"}, "User": "1",
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5}, "StopSignal": "SIGINT", "Volumes": {"/d": {}}},
        "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "COPY", "empty_layer": true}]})
}

/// A layout whose JSON may be spoilt before its digest is taken.
fn layout(spoiler: &mut Spoiler) -> Vec<u8> {
    let which = spoiler.below(4);
    let config = if which == 0 { spoiler.json(&config()) } else { config() };
    let layer = tar(&[("app.wasm", &module("app"))]);
    let mut made = Layout::default();
    let mut manifest = made.manifest((OCI_CONFIG, config), &[(LAYER, &gzip(&layer))]);
    if which == 1 {
        manifest = spoiler.json(&manifest);
    }
    let mut descriptor = made.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "app:1"});
    made.manifests.push(if which == 2 { spoiler.json(&descriptor) } else { descriptor });
    if which == 3 {
        let layout = spoiler.json(&json!({"imageLayoutVersion": "1.0.0"}));
        made.extra.push(("oci-layout".into(), layout.to_string().into_bytes()));
    }
    made.tar()
}

/// What the older `docker save` wrote.
fn older(spoiler: &mut Spoiler) -> Vec<u8> {
    let layer = tar(&[("app.wasm", &module("app"))]);
    let config = if spoiler.below(2) == 0 { spoiler.json(&config()) } else { config() };
    let manifest = spoiler.json(&json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["0/layer.tar"]}]));
    tar(&[("manifest.json", manifest.to_string().as_bytes()), ("c.json", config.to_string().as_bytes()), ("0/layer.tar", &layer)])
}

#[tokio::test]
async fn spoilt_archives_are_loaded_or_refused() {
    let mut spoiler = Spoiler::new(1);
    let store = Store::new();
    store.load(artifact("kept:1", &module("kept"))).await.unwrap();
    let valid =
        [artifact("app:1", &module("app")), gzip(&artifact("app:1", &module("app"))), saved(&["app:1"], &config(), &[tar(&[("app.wasm", &module("app"))])])];
    let (mut loaded, mut refused) = (0, 0);
    for number in tries(FEW) {
        let archive = match number % 5 {
            0 => layout(&mut spoiler),
            1 => older(&mut spoiler),
            which => spoiler.mutant(&valid[which - 2]),
        };
        let given = archive.clone();
        let _given = Given { what: "an archive", bytes: &given };
        let (files, count) = (store.files(), store.images.count());
        match store.load(archive).await {
            Ok(names) => {
                loaded += 1;
                assert!(store.images.count() >= count, "{names:?}");
            }
            Err(error) => {
                refused += 1;
                assert!(!error.is_empty());
                assert_eq!((store.files(), store.images.count()), (files, count), "{error}");
            }
        }
    }
    assert!(loaded > 0 && refused > loaded, "{loaded} were loaded, {refused} refused");
    assert!(store.again().images.count() > 0, "another start reads the index");
}
