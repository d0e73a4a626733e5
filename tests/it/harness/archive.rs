//! Archives of images, whole or spoilt on purpose: tar entries as raw bytes, OCI layouts, `docker save` of the older kind.

use super::registry::digest;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

pub const ARTIFACT_CONFIG: &str = "application/vnd.wasm.config.v0+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const WASM: &str = "application/wasm";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// One entry of a tar, its name unchecked; `size` is what its header says.
pub fn entry(name: &[u8], kind: tar::EntryType, link: &str, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.as_gnu_mut().expect("it is one").name[..name.len()].copy_from_slice(name);
    header.as_gnu_mut().expect("it is one").linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [header.as_bytes().as_slice(), content, &padding].concat()
}

/// A regular file as an entry.
pub fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), tar::EntryType::Regular, "", content.len() as u64, content)
}

/// Entries with the end of a tar.
pub fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

/// By the machine's own gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip is installed");
    let (mut input, bytes) = (child.stdin.take().expect("it is piped"), bytes.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let done = child.wait_with_output().expect("it is our child");
    writer.join().expect("the writer ends").expect("gzip reads to the end");
    done.stdout
}

/// A zstd frame: these bytes, then so many blocks of 128 KiB, each one zero repeated, in four bytes.
pub fn zstd_bomb(start: &[u8], blocks: u32) -> Vec<u8> {
    // Its size is not told, its window has one MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x50];
    frame.extend(&((start.len() as u32) << 3).to_le_bytes()[..3]);
    frame.extend(start);
    for at in 1..=blocks {
        let header = (1 << 17) << 3 | 1 << 1 | u32::from(at == blocks);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// An OCI layout under construction.
#[derive(Clone, Default)]
pub struct Layout {
    pub files: Vec<(String, Vec<u8>)>,
    pub manifests: Vec<Value>,
}

impl Layout {
    /// Adds a blob; its descriptor.
    pub fn blob(&mut self, media: &str, content: &[u8]) -> Value {
        let digest = digest(content);
        let name = format!("blobs/{}", digest.replacen(':', "/", 1));
        if !self.files.iter().any(|(known, _)| *known == name) {
            self.files.push((name, content.to_vec()));
        }
        json!({"mediaType": media, "digest": digest, "size": content.len()})
    }

    /// Adds an image's manifest; its descriptor, not yet in the index.
    pub fn manifest(&mut self, config: (&str, &Value), layers: &[(&str, &[u8])]) -> Value {
        let config = self.blob(config.0, config.1.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|(media, content)| self.blob(media, content)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        self.blob(OCI_MANIFEST, manifest.to_string().as_bytes())
    }

    /// Puts a descriptor into the index under a name.
    pub fn name(&mut self, mut descriptor: Value, name: &str) {
        descriptor["annotations"] = json!({"io.containerd.image.name": name});
        self.manifests.push(descriptor);
    }

    /// One CNCF artifact.
    pub fn artifact(name: &str, module: &[u8]) -> Self {
        let mut layout = Self::default();
        let descriptor = layout.manifest((ARTIFACT_CONFIG, &json!({"architecture": "wasm", "os": "wasip1"})), &[(WASM, module)]);
        layout.name(descriptor, name);
        layout
    }

    /// The blobs, then what names them.
    pub fn tar(&self) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.manifests}).to_string();
        let last = [file("index.json", index.as_bytes()), file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)];
        tar_of(&self.files.iter().map(|(name, content)| file(name, content)).chain(last).collect::<Vec<_>>())
    }
}

/// `docker save` of the older kind: `manifest.json` as given, and files by name.
pub fn saved(manifest: &Value, files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries = files.iter().map(|(name, content)| file(name, content)).chain([file("manifest.json", manifest.to_string().as_bytes())]);
    tar_of(&entries.collect::<Vec<_>>())
}
