//! Which images an unpacked archive holds, and under which names.
//!
//! Owns: OCI layouts (`index.json`, nested indexes) and `docker save` archives (`manifest.json`, with or without the OCI files beside it).
//! An archive of the older kind has no manifests: they are made here, from the same configuration and layers.

use super::choose::{self, MAX_DEPTH};
use super::reference::{Reference, familiar};
use super::unpacked::{Staged, Unpacked};
use crate::error::{Error, Result};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use wsw_api::spec::Platform;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The full name of an image (containerd, docker).
const FULL_NAME: &str = "io.containerd.image.name";
/// The OCI's own; most tools put only the tag there.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Images in one archive: each costs a compiler process.
const MAX_IMAGES: usize = 64;
/// overlayfs stops at 128 layers, docker at 125.
pub(crate) const MAX_LAYERS: usize = 128;
/// Names of one image in an archive.
const MAX_NAMES: usize = 1_000;

/// One image of the archive.
#[derive(Debug)]
pub(crate) struct Found {
    pub manifest: Staged,
    pub names: Vec<Reference>,
    /// `name@sha256:…` by which a registry knows it.
    pub aliases: Vec<String>,
}

impl Found {
    /// What to call it in an error.
    pub(crate) fn title(&self) -> String {
        title(&self.names, &self.manifest.digest)
    }
}

fn title(names: &[Reference], digest: &str) -> String {
    names.first().map_or_else(|| digest.to_owned(), |name| familiar(&name.tagged()).to_owned())
}

/// One row of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// All images of the archive.
pub(crate) fn find(unpacked: &mut Unpacked, asked: Option<&Platform>) -> Result<Vec<Found>> {
    let saved: Vec<Saved> = document(unpacked, "manifest.json")?.unwrap_or_default();
    check_count("manifest.json: images", saved.len(), MAX_IMAGES)?;
    let found = match document::<ImageIndex>(unpacked, "index.json")? {
        Some(index) => from_index(unpacked, &index, &saved, asked)?,
        None if saved.is_empty() => {
            return Err(Error::Invalid("archive: neither index.json (OCI layout) nor manifest.json (docker save) is in it".into()));
        }
        None => saved.iter().map(|saved| from_saved(unpacked, saved)).collect::<Result<_>>()?,
    };
    if found.is_empty() {
        return Err(Error::Invalid("archive: index.json lists no image".into()));
    }
    check_count("index.json: images", found.len(), MAX_IMAGES)?;
    for image in &found {
        check_count(&format!("image {}: names", image.title()), image.names.len(), MAX_NAMES)?;
    }
    Ok(found)
}

/// The bound of a list in the archive, told with the list's name.
pub(crate) fn check_count(what: &str, count: usize, max: usize) -> Result<()> {
    if count > max {
        return Err(Error::Invalid(format!("archive: {what}: there are {count}; at most {max} are taken")));
    }
    Ok(())
}

fn document<T: serde::de::DeserializeOwned>(unpacked: &Unpacked, name: &str) -> Result<Option<T>> {
    let Some(staged) = unpacked.named(name)? else { return Ok(None) };
    parse(&unpacked.json(staged, name)?, name).map(Some)
}

/// Reads a JSON document; the error names it.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Invalid(format!("archive: {what}: {error}")))
}

fn from_index(unpacked: &Unpacked, index: &ImageIndex, saved: &[Saved], asked: Option<&Platform>) -> Result<Vec<Found>> {
    let mut tags = BTreeMap::<String, Vec<Reference>>::new();
    for row in saved {
        if let Some(config) = unpacked.named(&row.config)? {
            tags.entry(config.digest.clone()).or_default().extend(references(row)?);
        }
    }
    check_count("index.json: manifests", index.manifests().len(), choose::MAX_ENTRIES)?;
    let mut images = Vec::<Found>::new();
    // One image under many names has a descriptor for each: it is looked at once.
    let mut known = BTreeMap::<String, usize>::new();
    for descriptor in index.manifests() {
        let mut names = annotated(descriptor)?;
        let manifest = resolve(unpacked, descriptor, &names, asked)?;
        if let Some(found) = known.get(&manifest.digest).and_then(|at| images.get_mut(*at)) {
            found.names.extend(names);
            continue;
        }
        if let Ok(parsed) = parse::<ImageManifest>(&unpacked.json(&manifest, "manifest")?, "manifest") {
            names.extend(tags.get(parsed.config().digest().as_ref()).into_iter().flatten().cloned());
        }
        known.insert(manifest.digest.clone(), images.len());
        images.push(Found { manifest, names, aliases: Vec::new() });
    }
    for image in &mut images {
        image.names.sort();
        image.names.dedup();
    }
    Ok(images)
}

/// Names from a descriptor's annotations.
fn annotated(descriptor: &Descriptor) -> Result<Vec<Reference>> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key)).map(String::as_str);
    // A bare word in the OCI's annotation is a tag without a name.
    let text = annotation(FULL_NAME).or_else(|| annotation(REF_NAME).filter(|text| text.contains([':', '/'])));
    text.map(|text| name("index.json: annotation", text)).into_iter().collect()
}

/// A name with a tag, or none; a digest is what the archive itself says.
fn name(field: &str, text: &str) -> Result<Reference> {
    let wrong = |why: &str| Error::Invalid(format!("archive: {field}: {why}"));
    let reference = Reference::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if reference.digest.is_some() { Err(wrong(&format!("invalid tag {text:?}: a name in an archive has no digest"))) } else { Ok(reference) }
}

/// The manifest that a descriptor leads to; through indexes, the one of the platform that fits.
fn resolve(unpacked: &Unpacked, descriptor: &Descriptor, names: &[Reference], asked: Option<&Platform>) -> Result<Staged> {
    let digest = descriptor.digest().to_string();
    let mut staged = checked(unpacked, descriptor, "manifest")?;
    let mut media = descriptor.media_type().to_string();
    for _ in 0..=MAX_DEPTH {
        if !choose::is_index(&media) {
            return Ok(staged);
        }
        let index: ImageIndex = parse(&unpacked.json(&staged, "index")?, &format!("index {digest}"))?;
        // `docker save` of one platform keeps the index and leaves the others' blobs out.
        let kept = index.manifests().iter().filter(|entry| unpacked.blob(entry.digest().as_ref(), "manifest").is_ok()).cloned().collect::<Vec<_>>();
        let mut index = index;
        if !kept.is_empty() {
            index.set_manifests(kept);
        }
        let entry = choose::choose(&index, asked).map_err(|known| {
            let asked = asked.map_or("this node".to_owned(), |asked| format!("{}/{}", asked.os, asked.architecture));
            Error::Unsupported(format!("image {} has nothing for {asked}; it is for {known}", title(names, &digest)))
        })?;
        staged = checked(unpacked, entry, "manifest")?;
        media = entry.media_type().to_string();
    }
    Err(Error::Invalid(format!("archive: index {digest} leads to indexes more than {MAX_DEPTH} levels deep")))
}

/// The file of a descriptor, of the size that it says.
pub(crate) fn checked(unpacked: &Unpacked, descriptor: &Descriptor, what: &str) -> Result<Staged> {
    let digest = descriptor.digest().to_string();
    let staged = unpacked.blob(&digest, what)?;
    if staged.size != descriptor.size() {
        return Err(Error::Invalid(format!("archive: {what} {digest} has {} bytes, its descriptor says {}", staged.size, descriptor.size())));
    }
    Ok(staged.clone())
}

fn references(saved: &Saved) -> Result<Vec<Reference>> {
    saved.repo_tags.iter().flatten().map(|tag| name("manifest.json: RepoTags", tag)).collect()
}

/// Makes the manifest that an older `docker save` does not have.
fn from_saved(unpacked: &mut Unpacked, saved: &Saved) -> Result<Found> {
    check_count("manifest.json: Layers", saved.layers.len(), MAX_LAYERS)?;
    let file = |name: &str| unpacked.named(name)?.cloned().ok_or_else(|| Error::Invalid(format!("archive: {name:?}, named in manifest.json, is missing")));
    let config = file(&saved.config)?;
    let layers = saved.layers.iter().map(|name| file(name)).collect::<Result<Vec<_>>>()?;
    let describe = |media: &str, staged: &Staged| serde_json::json!({"mediaType": media, "digest": staged.digest, "size": staged.size});
    let layers = layers.iter().map(|layer| Ok(describe(if is_gzip(layer)? { OCI_LAYER_GZIP } else { OCI_LAYER }, layer))).collect::<Result<Vec<_>>>()?;
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": describe(OCI_CONFIG, &config), "layers": layers});
    Ok(Found { manifest: unpacked.stage_bytes(manifest.to_string().as_bytes())?, names: references(saved)?, aliases: Vec::new() })
}

fn is_gzip(staged: &Staged) -> Result<bool> {
    Ok(head(staged)?.starts_with(&[0x1f, 0x8b]))
}

/// The first bytes of a file.
pub(crate) fn head(staged: &Staged) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(&staged.path).and_then(|file| file.take(8).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|e| Error::io("read an unpacked file", &e))
}

/// Annotations of a manifest or descriptor, empty when it has none.
pub(crate) fn annotations(found: Option<&HashMap<String, String>>, key: &str) -> Option<String> {
    found.and_then(|all| all.get(key)).filter(|text| !text.is_empty()).cloned()
}
