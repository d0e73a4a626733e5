//! A store in a temporary folder, and archives as the tools in the field write them.

use crate::compiler::Compile;
use crate::error::{Error, Result};
use crate::images::blobs::digest_of;
use crate::images::{Code, Images, Patience, Trust};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wsw_api::shim::Kind;

pub const ARTIFACT_CONFIG: &str = "application/vnd.wasm.config.v0+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const WASM: &str = "application/wasm";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Tests wait for no registry longer than they must.
pub const PATIENCE: Patience = Patience {
    stall: Duration::from_millis(700),
    tries: 4,
    pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(40),
    retry_after: Duration::from_secs(2),
};

/// A module that our stand-in compiler takes.
pub fn module(text: &str) -> Vec<u8> {
    [b"\0asm\x01\0\0\0", text.as_bytes()].concat()
}

/// Bytes of code that the stand-in keeps.
pub const CODE_LIMIT: u64 = 1 << 20;

/// A folder, and the modules in the order of their use.
struct StandIn(PathBuf, Mutex<Vec<String>>);

#[async_trait]
impl Compile for StandIn {
    async fn compile(&self, digest: &str, module: &Path) -> Result<Kind> {
        let text = String::from_utf8_lossy(&std::fs::read(module).unwrap()).into_owned();
        if text.contains("bad") {
            return Err(Error::Invalid("import wasi:nn/tensor is not served".into()));
        }
        std::fs::write(self.artifact(digest), text).unwrap();
        Ok(Kind::Command)
    }
    fn artifact(&self, digest: &str) -> PathBuf {
        self.0.join(digest.trim_start_matches("sha256:"))
    }
    fn forget(&self, digest: &str) {
        let _ = std::fs::remove_file(self.artifact(digest));
    }
    fn used(&self, digest: &str) {
        self.1.lock().unwrap().push(format!("sha256:{}", digest.trim_start_matches("sha256:")));
    }
    fn kept(&self) -> Vec<Code> {
        let used = self.1.lock().unwrap().clone();
        let entries = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
        let code = |entry: std::fs::DirEntry| {
            let module = format!("sha256:{}", entry.file_name().to_string_lossy());
            let at = used.iter().rposition(|used| *used == module).map_or(0, |at| at as u64 + 1);
            Code { size: entry.metadata().unwrap().len(), made: wsw_api::Time(0), used: wsw_api::Time(at), tasks: 0, module }
        };
        entries.map(code).collect()
    }
    fn limit(&self) -> u64 {
        CODE_LIMIT
    }
}

pub struct Store {
    pub dir: tempfile::TempDir,
    pub images: Images,
}

impl Store {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("compiled")).unwrap();
        let images = Self::open(dir.path());
        Self { dir, images }
    }

    /// The store of the same folder after the daemon was started again.
    pub fn again(self) -> Self {
        let images = Self::open(self.dir.path());
        Self { dir: self.dir, images }
    }

    fn open(root: &Path) -> Images {
        Images::open(root, Arc::new(StandIn(root.join("compiled"), Mutex::default())), Trust::default(), PATIENCE).unwrap()
    }

    pub async fn load(&self, archive: Vec<u8>) -> Result<Vec<String>, String> {
        self.images.load(Cursor::new(archive), None).await.map_err(|error| error.message)
    }

    /// All files of the store but the index, to see that nothing was left behind.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["blobs/sha256", "compiled", "tmp"] {
            found.extend(
                std::fs::read_dir(self.dir.path().join(folder)).unwrap().map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy())),
            );
        }
        found.sort();
        found
    }
}

/// A tar of these files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        append(&mut builder, name, content, tar::EntryType::Regular, None);
    }
    builder.into_inner().unwrap()
}

/// One entry, its name unchecked.
pub fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8], kind: tar::EntryType, link: Option<&str>) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// In a frame of stored blocks: what matters is that it is read by its first bytes.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend((bytes.len() as u32).to_le_bytes());
    let blocks = bytes.chunks(0x1_0000).collect::<Vec<_>>();
    for (at, block) in blocks.iter().enumerate() {
        let header = (block.len() as u32) << 3 | u32::from(at + 1 == blocks.len());
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(*block);
    }
    frame
}

/// An OCI layout under construction.
#[derive(Default)]
pub struct Layout {
    pub blobs: Vec<Vec<u8>>,
    pub manifests: Vec<Value>,
    pub extra: Vec<(String, Vec<u8>)>,
}

impl Layout {
    pub fn blob(&mut self, media: &str, content: &[u8]) -> Value {
        self.blobs.push(content.to_vec());
        json!({"mediaType": media, "digest": digest_of(content), "size": content.len()})
    }

    /// Adds an image; answers its manifest's digest.
    pub fn image(&mut self, name: Option<&str>, config: (&str, Value), layers: &[(&str, &[u8])]) -> String {
        let manifest = self.manifest(config, layers);
        let mut descriptor = self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        if let Some(name) = name {
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        self.manifests.push(descriptor.clone());
        descriptor["digest"].as_str().unwrap().to_owned()
    }

    pub fn manifest(&mut self, config: (&str, Value), layers: &[(&str, &[u8])]) -> Value {
        let config = self.blob(config.0, config.1.to_string().as_bytes());
        let layers = layers.iter().map(|(media, content)| self.blob(media, content)).collect::<Vec<_>>();
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers})
    }

    pub fn index(&self) -> Vec<u8> {
        json!({"schemaVersion": 2, "manifests": self.manifests}).to_string().into_bytes()
    }

    pub fn tar(&self) -> Vec<u8> {
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()), ("index.json".to_owned(), self.index())];
        files.extend(self.blobs.iter().map(|blob| (format!("blobs/sha256/{}", &digest_of(blob)[7..]), blob.clone())));
        files.extend(self.extra.clone());
        files.sort();
        files.dedup_by(|a, b| a.0 == b.0);
        tar(&files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect::<Vec<_>>())
    }
}

/// A CNCF artifact, the format that our own CLI writes.
pub fn artifact(name: &str, module: &[u8]) -> Vec<u8> {
    let mut layout = Layout::default();
    layout.image(Some(name), (ARTIFACT_CONFIG, json!({"architecture": "wasm", "os": "wasip2", "created": "2026-01-02T03:04:05Z"})), &[(WASM, module)]);
    layout.tar()
}

/// The older `docker save`: `manifest.json` and layers by name.
pub fn saved(tags: &[&str], config: &Value, layers: &[Vec<u8>]) -> Vec<u8> {
    let names = (0..layers.len()).map(|at| format!("{at}/layer.tar")).collect::<Vec<_>>();
    let manifest = json!([{"Config": "c.json", "RepoTags": tags, "Layers": names}]).to_string();
    let config = config.to_string();
    let mut files = vec![("manifest.json", manifest.as_bytes()), ("c.json", config.as_bytes())];
    files.extend(names.iter().zip(layers).map(|(name, layer)| (name.as_str(), layer.as_slice())));
    tar(&files)
}
