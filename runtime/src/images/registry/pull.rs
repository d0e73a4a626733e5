//! A pull: manifest, choice of platform, blobs, then the same way into the store as a load.
//!
//! Owns: the order of things and docker's progress lines. Invariants: the index changes last and only when all is there; a pull that many
//! tasks wait for is made once.

use super::downloads::Want;
use super::session::{Fetched, registry_and_path};
use super::{Credentials, Failure, Rights, Session};
use crate::error::{Error, Result};
use crate::images::choose::{self, MAX_DEPTH};
use crate::images::layout::{Found, MAX_LAYERS, parse};
use crate::images::progress::{Sink, short};
use crate::images::reference::{Reference, familiar};
use crate::images::store::Images;
use crate::images::unpacked::{MAX_JSON, Unpacked};
use futures_util::{StreamExt, TryStreamExt};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use std::sync::Arc;
use wsw_api::image::Look;
use wsw_api::registry::RegistryAuth;
use wsw_api::spec::Platform;

/// docker's `max-concurrent-downloads`.
const BLOBS_AT_ONCE: usize = 3;
/// Largest layer, and largest image: Linux images of many GiB exist, but a disk is not filled by one typing error.
const MAX_LAYER: u64 = 8 << 30;
const MAX_IMAGE: u64 = 16 << 30;

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// A name with tag or digest; `latest` when it has neither.
    pub reference: String,
    pub platform: Option<Platform>,
    pub auth: Option<RegistryAuth>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Digest of the image in the store.
    pub image: String,
    /// Digest of what the name leads to at the registry: the same, or that of the platform index.
    pub digest: String,
    /// The name as docker shows it.
    pub name: String,
    /// False when all of it was here.
    pub newer: bool,
}

/// The last part of a manifest's address.
fn wanted(reference: &Reference) -> &str {
    reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or("latest")
}

/// The name as the user wrote it, for errors: `app:v1`, `app@sha256:…`.
pub(crate) fn shown(reference: &Reference) -> String {
    match &reference.digest {
        Some(digest) => format!("{}@{digest}", familiar(&reference.name)),
        None => familiar(&reference.tagged()).to_owned(),
    }
}

impl Images {
    async fn session(&self, reference: &Reference, auth: Option<&RegistryAuth>) -> Result<Session, Failure> {
        let credentials = Credentials::read(auth)?;
        Session::open(self.transport.clone(), &self.trust, reference, Rights::Pull, credentials).await
    }

    /// Asks the registry which manifest a name leads to.
    pub async fn look(&self, text: &str, auth: Option<&RegistryAuth>) -> wsw_api::Result<Look> {
        let reference = Reference::parse(text)?;
        let named = |failure: Failure| failure.of_pull(familiar(&reference.name), &shown(&reference));
        let session = self.session(&reference, auth).await.map_err(named)?;
        let fetched = session.manifest(wanted(&reference)).await.map_err(named)?;
        let media_type = media_type(&fetched);
        let platforms = if choose::is_index(&media_type) {
            let index: ImageIndex = read(&fetched)?;
            let platform =
                |entry: &Descriptor| entry.platform().as_ref().map(|p| Platform { os: p.os().to_string(), architecture: p.architecture().to_string() });
            index.manifests().iter().take(choose::MAX_ENTRIES).filter_map(platform).collect()
        } else {
            let manifest: ImageManifest = read(&fetched)?;
            vec![self.platform(&session, &manifest).await.map_err(named)?]
        };
        Ok(Look { media_type, digest: fetched.digest, size: fetched.bytes.len() as u64, platforms })
    }

    /// The platform that a configuration names; Wasm's are all one here.
    async fn platform(&self, session: &Session, manifest: &ImageManifest) -> Result<Platform, Failure> {
        let config = manifest.config();
        if config.size() > MAX_JSON {
            return Err(Error::Invalid(format!("configuration {}: larger than {} MiB", config.digest(), MAX_JSON >> 20)).into());
        }
        let unpacked = Unpacked::empty(&self.staging())?;
        let path = unpacked.next_path();
        let want = Want { digest: config.digest().to_string(), size: config.size() };
        self.downloads.fetch(session, self.blobs(), &want, &path, &Sink::default()).await?;
        let bytes = std::fs::read(&path).map_err(|e| Error::io("read a configuration", &e))?;
        let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |key: &str| parsed.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_lowercase();
        let found = Platform { os: text("os"), architecture: text("architecture") };
        let wasm = choose::is_wasm(&found) || manifest.config().media_type().to_string().starts_with("application/vnd.wasm.config.");
        Ok(if wasm { Platform { os: "wasi".into(), architecture: "wasm".into() } } else { found })
    }

    /// Pulls, with a word for each step.
    pub async fn pull(&self, request: &PullRequest, sink: &Sink) -> wsw_api::Result<Pulled> {
        Ok(self.bring(request, sink).await?)
    }

    /// Pulls all tags of a repository, one after the other.
    pub async fn pull_all(&self, request: &PullRequest, sink: &Sink) -> wsw_api::Result<Vec<Pulled>> {
        let reference = Reference::parse(&request.reference)?;
        let named = |failure: Failure| failure.of_pull(familiar(&reference.name), &shown(&reference));
        let session = self.session(&reference, request.auth.as_ref()).await.map_err(named)?;
        let mut pulled = Vec::new();
        for tag in session.tags().await.map_err(named)? {
            let one = PullRequest { reference: format!("{}:{tag}", reference.name), ..request.clone() };
            pulled.push(self.bring(&one, sink).await?);
        }
        Ok(pulled)
    }

    /// For a task: makes sure that the image is here. Many that wait for the same one wait for one pull.
    pub(crate) async fn ensure(&self, request: PullRequest) -> Result<Pulled> {
        let key =
            format!("{} {:?}", request.reference, request.auth.as_ref().map(RegistryAuth::reveal).map(|text| crate::images::blobs::digest_of(text.as_bytes())));
        let cell = self.pulls.lock().await.entry(key.clone()).or_default().clone();
        let bring = Box::pin(async {
            match self.ask_peers(&request).await {
                Some(pulled) => Ok(pulled),
                None => self.bring(&request, &Sink::default()).await,
            }
        });
        let done = cell.get_or_init(|| bring).await.clone();
        let mut pulls = self.pulls.lock().await;
        // Those that come later look again: this answer may be old by then.
        if pulls.get(&key).is_some_and(|known| Arc::ptr_eq(known, &cell)) {
            pulls.remove(&key);
        }
        done
    }

    async fn bring(&self, request: &PullRequest, sink: &Sink) -> Result<Pulled> {
        let reference = Reference::parse(&request.reference)?;
        let named = |failure: Failure| failure.of_pull(familiar(&reference.name), &shown(&reference));
        let session = self.session(&reference, request.auth.as_ref()).await.map_err(named)?;
        let top = session.manifest(wanted(&reference)).await.map_err(named)?;
        let (_, path) = registry_and_path(&reference);
        let path = if reference.name.starts_with("docker.io/") { path.to_owned() } else { familiar(&reference.name).to_owned() };
        sink.say(wanted(&reference), format!("Pulling from {path}")).await;
        let pulled = self.complete(&session, request, &reference, &top, sink).await.map_err(named)?;
        sink.say("", format!("Digest: {}", pulled.digest)).await;
        let what = if pulled.newer { "Downloaded newer image for" } else { "Image is up to date for" };
        sink.say("", format!("Status: {what} {}", pulled.name)).await;
        Ok(pulled)
    }

    async fn complete(&self, session: &Session, request: &PullRequest, reference: &Reference, top: &Fetched, sink: &Sink) -> Result<Pulled, Failure> {
        let image = self.choose(session, request, top).await?;
        let name = shown(reference);
        let pulled = |newer| Pulled { image: image.digest.clone(), digest: top.digest.clone(), name: name.clone(), newer };
        let names = if reference.digest.is_some() { Vec::new() } else { vec![reference.clone()] };
        let aliases = vec![format!("{}@{}", reference.name, top.digest)];
        if self.knows(&image.digest, &names, &aliases) {
            return Ok(pulled(false));
        }
        let manifest: ImageManifest = read(&image)?;
        let mut unpacked = Unpacked::empty(&self.staging())?;
        let wants = wants(&manifest)?;
        let jobs = wants.iter().cloned().map(|want| (want, unpacked.next_path())).collect::<Vec<_>>();
        for want in wants.iter().skip(1) {
            sink.layer(&short(&want.digest), "Pulling fs layer").await;
        }
        // Boxed: the compiler loses track of the lifetimes of a stream of such futures otherwise.
        let fetches = jobs.iter().map(|(want, path)| {
            let fetch: futures_util::future::BoxFuture<'_, _> = Box::pin(self.downloads.fetch(session, self.blobs(), want, path, sink));
            fetch
        });
        let all: Vec<()> = futures_util::stream::iter(fetches.collect::<Vec<_>>()).buffer_unordered(BLOBS_AT_ONCE).try_collect().await?;
        debug_assert_eq!(all.len(), jobs.len());
        for (want, path) in jobs {
            unpacked.adopt(path, want.digest, want.size);
        }
        let manifest = unpacked.stage_bytes(&image.bytes)?;
        self.publish(unpacked, vec![Found { manifest, names, aliases }]).await?;
        self.downloads.forget(wants.iter().map(|want| &want.digest));
        for want in wants.iter().skip(1) {
            sink.layer(&short(&want.digest), "Pull complete").await;
        }
        Ok(pulled(true))
    }

    /// The manifest of one image; through indexes, of the platform that fits.
    async fn choose(&self, session: &Session, request: &PullRequest, top: &Fetched) -> Result<Fetched, Failure> {
        let mut found = top.clone();
        for _ in 0..=MAX_DEPTH {
            if !choose::is_index(&media_type(&found)) {
                return Ok(found);
            }
            let index: ImageIndex = read(&found)?;
            let entry = choose::choose(&index, request.platform.as_ref()).map_err(|known| {
                let asked = request.platform.clone().unwrap_or(Platform { os: "wasi".into(), architecture: "wasm".into() });
                Error::NotThere(format!("no matching manifest for {}/{} in the manifest list entries ({known})", asked.os, asked.architecture))
            })?;
            found = session.manifest(entry.digest().as_ref()).await?;
        }
        Err(Error::Invalid(format!("index {}: it leads to indexes more than {MAX_DEPTH} levels deep", top.digest)).into())
    }
}

/// Configuration and layers, in this order, each once.
pub(super) fn wants(manifest: &ImageManifest) -> Result<Vec<Want>> {
    let layers = manifest.layers();
    if layers.len() > MAX_LAYERS {
        return Err(Error::Invalid(format!("the manifest lists {} layers; at most {MAX_LAYERS} are taken", layers.len())));
    }
    let (mut wants, mut sum) = (Vec::<Want>::new(), 0_u64);
    for (at, descriptor) in std::iter::once(manifest.config()).chain(layers).enumerate() {
        let (digest, size) = (descriptor.digest().to_string(), descriptor.size());
        let limit = if at == 0 { MAX_JSON } else { MAX_LAYER };
        if !crate::images::reference::is_digest(&digest) {
            return Err(Error::Invalid(format!("the manifest names {digest:?}; only sha256 digests are taken")));
        }
        sum = sum.saturating_add(size);
        if size > limit || sum > MAX_IMAGE {
            return Err(Error::Invalid(format!(
                "blob {digest} has {size} bytes by its manifest; at most {} MiB of one and {} of an image are taken",
                limit >> 20,
                MAX_IMAGE >> 20
            )));
        }
        if !wants.iter().any(|want| want.digest == digest) {
            wants.push(Want { digest, size });
        }
    }
    Ok(wants)
}

fn read<T: serde::de::DeserializeOwned>(fetched: &Fetched) -> Result<T> {
    parse(&fetched.bytes, &format!("manifest {}", fetched.digest))
}

/// What a document says that it is; the header only when it does not, and the shape when neither does.
fn media_type(fetched: &Fetched) -> String {
    let parsed: serde_json::Value = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
    match parsed.get("mediaType").and_then(|value| value.as_str()) {
        Some(own) => own.to_owned(),
        None if parsed.get("manifests").is_some() => choose::INDEXES.first().copied().unwrap_or_default().to_owned(),
        None if fetched.media_type.is_empty() => crate::images::layout::OCI_MANIFEST.to_owned(),
        None => fetched.media_type.clone(),
    }
}
