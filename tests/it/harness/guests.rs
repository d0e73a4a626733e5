//! Guests for the tests: the built examples, modules from WAT, and images as `docker load` takes them.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The built example `name` (`tick`, `sum`, `hello_http`, or `legacy`, which is a wasip1 module).
pub fn guest(name: &str) -> PathBuf {
    built(if name == "legacy" { "wasm32-wasip1" } else { "wasm32-wasip2" }, name)
}

/// An example that is built both ways, as a wasip1 module.
pub fn module(name: &str) -> PathBuf {
    built("wasm32-wasip1", name)
}

fn built(target: &str, name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guest-examples/target/{target}/release/{name}.wasm"));
    assert!(file.is_file(), "{} is missing: run `make guests`", file.display());
    file
}

/// The guest `name` of another tool chain (`c_hello`, `c_foreign_import`, `python`, `javascript`).
pub fn foreign_guest(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guest-examples/target/foreign/{name}.wasm"));
    assert!(file.is_file(), "{} is missing: run scripts/guests-foreign", file.display());
    file
}

/// `guest-examples/limits/<name>.wat` as a binary in `folder`.
pub fn wat(folder: &Path, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guest-examples/limits/{name}.wat"));
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, wat::parse_file(&source).expect("the example is valid WAT")).expect("the folder is writable");
    file
}

/// The guest `tick` with so many more bytes in it, which nothing uses and nothing compresses.
pub fn large_guest(folder: &Path, bytes: usize, seed: u64) -> PathBuf {
    let mut module = std::fs::read(guest("tick")).expect("the guest is readable");
    let mut body = vec![4, b'f', b'i', b'l', b'l'];
    let mut state = seed;
    while body.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        body.extend_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    // A custom section: 0, its length, its name.
    module.push(0);
    let mut length = body.len();
    while length >= 0x80 {
        module.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    module.push(length as u8);
    module.extend_from_slice(&body);
    let path = folder.join("large.wasm");
    std::fs::write(&path, module).expect("the folder is writable");
    path
}

/// An OCI layout archive with one CNCF Wasm artifact, named `name:latest`: what `docker save` of such an image would write.
pub fn image_tar(folder: &Path, name: &str, wasm: &Path) -> PathBuf {
    let module = std::fs::read(wasm).expect("the guest is readable");
    let component = module.get(4..8) == Some(&[0x0d, 0, 1, 0]);
    let os = if component { "wasip2" } else { "wasip1" };
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut blob = |media_type: &str, bytes: Vec<u8>| {
        let digest = hex(&Sha256::digest(&bytes));
        let descriptor = serde_json::json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()});
        files.push((format!("blobs/sha256/{digest}"), bytes));
        descriptor
    };
    let layer = blob("application/wasm", module);
    let config = serde_json::json!({
        "created": "2026-01-01T00:00:00Z", "architecture": "wasm", "os": os, "layerDigests": [layer["digest"]],
        "component": component.then(|| serde_json::json!({"exports": [], "imports": [], "target": null})),
    });
    let config = blob("application/vnd.wasm.config.v0+json", config.to_string().into_bytes());
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": [layer]});
    let mut entry = blob(manifest_type, manifest.to_string().into_bytes());
    entry["annotations"] = serde_json::json!({
        "io.containerd.image.name": format!("docker.io/library/{name}:latest"), "org.opencontainers.image.ref.name": "latest",
    });
    entry["platform"] = serde_json::json!({"architecture": "wasm", "os": os});
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]});
    files.push(("index.json".into(), index.to_string().into_bytes()));
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));

    let path = folder.join(format!("{name}.tar"));
    let mut archive = tar::Builder::new(std::fs::File::create(&path).expect("the folder is writable"));
    for (name, bytes) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).expect("the archive is writable");
    }
    archive.finish().expect("the archive is writable");
    path
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
