//! A local `.wasm` file as an image: the CNCF Wasm OCI artifact (one `application/wasm` layer) in an OCI layout, as a tar archive.
//!
//! The archive is made in memory and is the same for the same file, so loading it twice changes nothing. What is in the file is only
//! looked at as far as the format asks for (module or component); the daemon decides whether it can run.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{errors::Error, image, service::options::os_text, session::Session};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// Wasm's magic number; the version that follows tells module and component apart.
const MAGIC: &[u8] = b"\0asm";
const COMPONENT_VERSION: &[u8] = &[0x0d, 0, 1, 0];

/// A packed file.
pub struct Packed {
    /// `name:latest@sha256:…`
    pub image: String,
    pub archive: Vec<u8>,
}

/// Whether the word names a file rather than an image.
pub fn is_path(word: &str) -> bool {
    let looks_so = word.ends_with(".wasm") || word.starts_with("./") || word.starts_with("../") || word.starts_with('/');
    // An image name may have slashes too; a file that is there wins over one, a bare word never means a file.
    looks_so || (word.contains('/') && Path::new(word).is_file())
}

/// Packs the file, loads it into the daemon and says by which image it is known.
pub async fn load(session: &Session, path: &str) -> Result<String, Error> {
    let content = std::fs::read(path).map_err(|error| Error::Plain(format!("open {path}: {}", os_text(&error))))?;
    let packed = pack(&name_of(path), &content)?;
    image::load_bytes(session, Bytes::from(packed.archive)).await?;
    Ok(packed.image)
}

/// The image name for a file: its stem in lower case, what names do not allow made a hyphen.
fn name_of(path: &str) -> String {
    let stem = Path::new(path).file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['.', '_', '-']);
    if name.is_empty() { "app".into() } else { name.to_owned() }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", digest(content)), "size": content.len()})
}

/// Makes the archive.
pub fn pack(name: &str, wasm: &[u8]) -> Result<Packed, Error> {
    let is_component = wasm.get(MAGIC.len()..8) == Some(COMPONENT_VERSION);
    let os = if is_component { "wasip2" } else { "wasip1" };
    let layer_digest = format!("sha256:{}", digest(wasm));
    let mut config = json!({"architecture": "wasm", "os": os, "layerDigests": [layer_digest]});
    if is_component {
        // The format wants the member; the lists are the daemon's to read from the component itself.
        config["component"] = json!({"exports": [], "imports": []});
    }
    let config = config.to_string().into_bytes();
    let mut layer = descriptor(LAYER, wasm);
    layer["annotations"] = json!({"org.opencontainers.image.title": format!("{name}.wasm")});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [layer],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor(MANIFEST, &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": format!("docker.io/library/{name}:latest"), "org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string().into_bytes();
    let manifest_digest = digest(&manifest);
    let files = [
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json".to_owned(), &index),
        (format!("blobs/sha256/{manifest_digest}"), &manifest),
        (format!("blobs/sha256/{}", digest(&config)), &config),
        (format!("blobs/sha256/{}", digest(wasm)), wasm),
    ];
    let archive = archive(&files).map_err(|error| Error::Plain(format!("the archive of {name} cannot be made: {error}")))?;
    Ok(Packed { image: format!("{name}:latest@sha256:{manifest_digest}"), archive })
}

fn archive(files: &[(String, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *content)?;
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_becomes_an_artifact() {
        let wasm = b"\0asm\x0d\0\x01\0";
        let packed = pack("hello", wasm).unwrap();
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(packed.archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest_digest = index["manifests"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        assert_eq!(packed.image, format!("hello:latest@sha256:{manifest_digest}"));
        let manifest: Value = serde_json::from_slice(&files[&format!("blobs/sha256/{manifest_digest}")]).unwrap();
        assert_eq!(manifest["layers"][0]["mediaType"], LAYER);
        let config = manifest["config"]["digest"].as_str().unwrap().trim_start_matches("sha256:");
        let config: Value = serde_json::from_slice(&files[&format!("blobs/sha256/{config}")]).unwrap();
        assert_eq!(config["os"], "wasip2");
        assert_eq!(files[&format!("blobs/sha256/{}", digest(wasm))], wasm);
    }

    #[test]
    fn the_same_file_packs_the_same() {
        assert_eq!(pack("a", b"x").unwrap().archive, pack("a", b"x").unwrap().archive);
    }

    #[test]
    fn names_and_paths() {
        assert_eq!(name_of("/x/Hello World.wasm"), "hello-world");
        assert_eq!(name_of("hello_http.wasm"), "hello_http");
        assert!(is_path("app.wasm") && is_path("./app") && !is_path("app:latest") && !is_path("registry/app"));
    }
}
