//! Images as one archive: an OCI layout with docker's `manifest.json` and `repositories` beside it, so that both kinds of tools load it.
//!
//! Owns: the archive's files and their order. The blobs are opened before the first byte goes out: an image that is removed meanwhile is saved whole.

use super::index::Index;
use super::layout::parse;
use super::reference::{Reference, familiar};
use super::store::Images;
use super::unpacked::MAX_JSON;
use crate::error::{Error, Result};
use crate::files;
use oci_spec::image::ImageManifest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;
use wsw_api::spec::Platform;

/// Images and blobs of one archive: each blob is an open file while it is written.
const MAX_IMAGES: usize = 64;
const MAX_BLOBS: usize = 2_000;
/// Between the writing thread and the client.
const PIPE: usize = 256 * 1024;

/// What the archive holds.
struct Plan {
    index: Vec<Value>,
    manifest: Vec<Value>,
    /// Repository → tag → the last layer's hex digits.
    repositories: BTreeMap<String, BTreeMap<String, String>>,
    blobs: BTreeMap<String, (File, u64)>,
}

impl Images {
    /// Writes images by name or id into a tar archive. A name without a tag means all its tags.
    pub async fn save(&self, references: &[String], platform: Option<&Platform>) -> wsw_api::Result<impl AsyncRead + Send + use<>> {
        if references.is_empty() || references.len() > MAX_IMAGES {
            return Err(wsw_api::Error::invalid(format!("names: 1 to {MAX_IMAGES} images can be saved at a time")));
        }
        let index = self.snapshot();
        let mut wanted = BTreeMap::<String, Vec<String>>::new();
        for text in references {
            for (digest, name) in meant(&index, text)? {
                let image = index.image(&digest).ok_or_else(|| Error::NoSuchImage(text.clone()))?;
                if platform.is_some_and(|asked| !super::choose::fits(&image.platform, asked)) {
                    let Platform { os, architecture } = &image.platform;
                    return Err(wsw_api::Error::not_found(format!("image {text} is for {os}/{architecture} only")));
                }
                wanted.entry(digest).or_default().extend(name);
            }
        }
        let blobs = self.blobs().clone();
        let plan = files::blocking(move || {
            let mut plan = Plan { index: Vec::new(), manifest: Vec::new(), repositories: BTreeMap::new(), blobs: BTreeMap::new() };
            for (digest, names) in wanted {
                let bytes = blobs.read(&digest, MAX_JSON)?;
                for blob in index.blobs_of(&digest) {
                    let file = File::open(blobs.path(&blob)).map_err(|e| Error::io(format_args!("read blob {blob}"), &e))?;
                    let size = file.metadata().map_err(|e| Error::io(format_args!("read blob {blob}"), &e))?.len();
                    plan.blobs.insert(blob, (file, size));
                }
                if plan.blobs.len() > MAX_BLOBS {
                    return Err(Error::Invalid(format!("names: the images have more than {MAX_BLOBS} layers together; save fewer at a time")));
                }
                plan.image(&digest, &bytes, &names)?;
            }
            Ok(plan)
        });
        let plan = plan.await??;
        let (reader, writer) = tokio::io::duplex(PIPE);
        let bridge = SyncIoBridge::new(writer);
        // The reader ends when the thread drops its end; a client that went away ends the thread with a broken pipe.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = plan.write(bridge) {
                tracing::debug!(%error, "an image archive was not read to its end");
            }
        });
        Ok(reader)
    }
}

/// The images that a text means, with the names that go into the archive.
fn meant(index: &Index, text: &str) -> Result<Vec<(String, Option<String>)>> {
    if let Ok(reference) = Reference::parse(text)
        && reference.digest.is_none()
    {
        let named = index.names_of(&reference);
        if !named.is_empty() {
            return Ok(named.into_iter().map(|(name, digest)| (digest, Some(name))).collect());
        }
    }
    Ok(vec![(index.resolve(text)?, None)])
}

fn path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

impl Plan {
    fn image(&mut self, digest: &str, bytes: &[u8], names: &[String]) -> Result<()> {
        let manifest: ImageManifest = parse(bytes, "manifest")?;
        let media = manifest.media_type().as_ref().map_or(super::layout::OCI_MANIFEST, |media| media.as_ref()).to_owned();
        let descriptor = json!({"mediaType": media, "digest": digest, "size": bytes.len()});
        if names.is_empty() {
            self.index.push(descriptor.clone());
        }
        for name in names {
            let reference = Reference::parse(name)?;
            let tag = reference.tag.clone().unwrap_or_default();
            let mut named = descriptor.clone();
            named["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
            self.index.push(named);
            if let Some(last) = manifest.layers().last() {
                let hex = last.digest().to_string().trim_start_matches("sha256:").to_owned();
                self.repositories.entry(familiar(&reference.name).to_owned()).or_default().insert(tag, hex);
            }
        }
        let tags = (!names.is_empty()).then(|| names.iter().map(|name| familiar(name)).collect::<Vec<_>>());
        let layers = manifest.layers().iter().map(|layer| path(layer.digest().as_ref())).collect::<Vec<_>>();
        self.manifest.push(json!({"Config": path(manifest.config().digest().as_ref()), "RepoTags": tags, "Layers": layers}));
        Ok(())
    }

    fn write(self, to: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        for (digest, (file, size)) in self.blobs {
            append(&mut archive, &path(&digest), size, file)?;
        }
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": self.index});
        let documents = [
            ("index.json", index),
            ("manifest.json", Value::from(self.manifest)),
            ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
            ("repositories", json!(self.repositories)),
        ];
        for (name, document) in documents {
            let bytes = document.to_string().into_bytes();
            append(&mut archive, name, bytes.len() as u64, bytes.as_slice())?;
        }
        archive.into_inner()?.flush()
    }
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, size: u64, content: impl io::Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content)
}
