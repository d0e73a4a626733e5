//! Images from other nodes of the swarm: by digest, before any registry is asked.
//!
//! Owns: the order of things for such an image; the daemon brings the way to the peers ([`Peers`]). Invariants: a peer is trusted with
//! nothing: each part is held against its digest, sizes against the manifest and our bounds; a part that broke off goes on where it
//! stopped, at whichever peer; one that gave wrong bytes is asked no more for that blob; what peers do not have is looked for at the registry
//! as if they had not been asked.

use super::downloads::{Downloads, Part, Want, finish};
use super::pull::{PullRequest, Pulled, shown, wants};
use crate::error::{Error, Result};
use crate::images::blobs::{Blobs, digest_of};
use crate::images::choose::{self, MAX_DEPTH};
use crate::images::layout::{Found, parse};
use crate::images::reference::Reference;
use crate::images::store::Images;
use crate::images::unpacked::{MAX_JSON, Unpacked};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use oci_spec::image::{ImageIndex, ImageManifest};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Tries of one blob that bring nothing, before the registry is asked instead; each asks every peer.
const FRUITLESS: u32 = 3;
/// Between two of them: a manager that restarts is back within a few.
const PAUSE: Duration = Duration::from_millis(500);
/// Tries of one blob, progress or not.
const MAX_TRIES: u32 = 100;
/// Tries of one blob while all that have it are busy with others: ten minutes, in which a large blob reaches hundreds of nodes.
const MAX_BUSY: u32 = 1_200;
/// Times that what came was not what its digest says, before the registry is asked.
const MAX_SPOILT: usize = 4;
/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// The bytes of a blob.
pub type BlobReader = Box<dyn AsyncRead + Send + Unpin>;

/// A blob as one peer gives it out.
pub struct Given {
    /// Of the whole blob.
    pub size: u64,
    /// The peer.
    pub from: String,
    pub bytes: BlobReader,
}

/// Other nodes that may have parts of images.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// A blob from an offset on, from any peer but these; none when no other has it. `ResourceBusy` says that some have it and may give it later.
    async fn open(&self, digest: &str, offset: u64, avoid: &BTreeSet<String>) -> io::Result<Option<Given>>;
}

impl Images {
    /// The image as peers have it; none when they do not, and then the registry is asked.
    pub(super) async fn ask_peers(&self, request: &PullRequest) -> Option<Pulled> {
        let peers = self.peers()?;
        let reference = Reference::parse(&request.reference).ok()?;
        let top = reference.digest.clone()?;
        match self.complete_from(&*peers, request, &reference, &top).await {
            Ok(pulled) => pulled,
            Err(error) => {
                tracing::warn!(image = request.reference, %error, "other nodes could not give this image; its registry is asked");
                None
            }
        }
    }

    async fn complete_from(&self, peers: &dyn Peers, request: &PullRequest, reference: &Reference, top: &str) -> Result<Option<Pulled>> {
        let Some((digest, bytes)) = manifest(peers, request, top).await? else { return Ok(None) };
        let manifest: ImageManifest = parse(&bytes, &format!("manifest {digest}"))?;
        let mut unpacked = Unpacked::empty(&self.staging())?;
        let wants = wants(&manifest)?;
        let paths: Vec<PathBuf> = wants.iter().map(|_| unpacked.next_path()).collect();
        let brought = wants.iter().zip(&paths).map(|(want, path)| self.downloads.fetch_from(peers, self.blobs(), want, path));
        if try_join_all(brought).await?.contains(&false) {
            return Ok(None);
        }
        for (want, path) in wants.iter().zip(paths) {
            unpacked.adopt(path, want.digest.clone(), want.size);
        }
        let manifest = unpacked.stage_bytes(&bytes)?;
        let aliases = vec![format!("{}@{top}", reference.name)];
        self.publish(unpacked, vec![Found { manifest, names: Vec::new(), aliases }]).await?;
        self.downloads.forget(wants.iter().map(|want| &want.digest));
        tracing::info!(image = request.reference, "the image came from another node");
        Ok(Some(Pulled { image: digest, digest: top.to_owned(), name: shown(reference), newer: true }))
    }
}

/// The manifest of one image, verified; through indexes, of the platform that fits.
async fn manifest(peers: &dyn Peers, request: &PullRequest, top: &str) -> Result<Option<(String, Vec<u8>)>> {
    let mut digest = top.to_owned();
    for _ in 0..=MAX_DEPTH {
        let Some(bytes) = small(peers, &digest).await? else { return Ok(None) };
        let document: serde_json::Value = parse(&bytes, &format!("manifest {digest}"))?;
        let said = document.get("mediaType").and_then(|value| value.as_str());
        let is_index = said.map_or(document.get("manifests").is_some(), choose::is_index);
        if !is_index {
            return Ok(Some((digest, bytes)));
        }
        let index: ImageIndex = parse(&bytes, &format!("index {digest}"))?;
        let entry = choose::choose(&index, request.platform.as_ref()).map_err(|known| Error::NotThere(format!("no manifest fits here ({known})")))?;
        digest = entry.digest().to_string();
    }
    Err(Error::Invalid(format!("index {top}: it leads to indexes more than {MAX_DEPTH} levels deep")))
}

/// A whole document, held against its digest.
async fn small(peers: &dyn Peers, digest: &str) -> Result<Option<Vec<u8>>> {
    let unreadable = |error: io::Error| Error::Temporary(format!("manifest {digest}: {error}"));
    let mut avoid = BTreeSet::new();
    while avoid.len() < MAX_SPOILT {
        let Some(Given { size, from, bytes: reader }) = peers.open(digest, 0, &avoid).await.map_err(unreadable)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = reader.take(size.min(MAX_JSON)).read_to_end(&mut bytes).await;
        match read.map(|_| digest_of(&bytes)) {
            Ok(found) if found == digest => return Ok(Some(bytes)),
            Ok(found) => tracing::warn!(peer = from, manifest = digest, found, "another node gave something else"),
            Err(error) => tracing::debug!(peer = from, manifest = digest, %error, "another node broke off"),
        }
        avoid.insert(from);
    }
    Err(Error::Invalid(format!("manifest {digest}: what came from other nodes is not what its digest says")))
}

impl Downloads {
    /// Brings one blob to `target` from peers; false when none has it.
    async fn fetch_from(&self, peers: &dyn Peers, blobs: &Blobs, want: &Want, target: &Path) -> Result<bool> {
        self.alone(want, self.bring_from(peers, blobs, want, target)).await
    }

    async fn bring_from(&self, peers: &dyn Peers, blobs: &Blobs, want: &Want, target: &Path) -> Result<bool> {
        let whole = self.path(&want.digest);
        let known = [&whole, &blobs.path(&want.digest)].into_iter().any(|known| std::fs::hard_link(known, target).is_ok());
        if known {
            return Ok(true);
        }
        let _slot = self.slots.acquire().await.map_err(|_| Error::Temporary("the image store is closed".into()))?;
        self.check_room(want.size)?;
        let part = whole.with_extension("part");
        let (mut avoid, mut suspects) = (BTreeSet::new(), BTreeSet::new());
        let mut last = String::new();
        for _ in 0..MAX_SPOILT {
            // One of those that spoilt a blob together, without the others of them.
            suspects.pop_first();
            let (mut left_out, mut sources) = (&avoid | &suspects, BTreeSet::new());
            let came = copy(peers, want, &part, &mut left_out, &mut sources).await;
            avoid.extend(left_out.difference(&suspects).cloned());
            match came {
                Ok(true) => {}
                Ok(false) | Err(_) if !suspects.is_empty() => continue,
                none => return none,
            }
            let have = Part::open(part.clone(), want.size).await?;
            match finish(have, want, &part, &whole).await {
                Ok(()) => {
                    std::fs::hard_link(&whole, target).map_err(|e| Error::io("keep a blob", &e))?;
                    return Ok(true);
                }
                Err(failure) => last = failure.to_string(),
            }
            tracing::warn!(blob = want.digest, peers = ?sources, reason = last, "other nodes gave something else");
            let whose = if sources.len() > 1 { &mut suspects } else { &mut avoid };
            whose.extend(sources);
        }
        Err(Error::Temporary(last))
    }
}

/// Fills a part up, as often as it brings something. Peers that cannot be right are avoided from then on; those that gave something are `sources`.
async fn copy(peers: &dyn Peers, want: &Want, part: &Path, avoid: &mut BTreeSet<String>, sources: &mut BTreeSet<String>) -> Result<bool> {
    let (mut fruitless, mut busy) = (0, 0);
    let mut last = String::new();
    let mut tries = 0;
    while tries < MAX_TRIES && busy < MAX_BUSY {
        tries += 1;
        let mut have = Part::open(part.to_owned(), want.size).await?;
        let before = have.size;
        if before == want.size {
            return Ok(true);
        }
        match peers.open(&want.digest, before, avoid).await {
            Ok(None) => return Ok(false),
            Ok(Some(given)) if given.size != want.size => {
                tracing::warn!(peer = given.from, blob = want.digest, size = given.size, wanted = want.size, "another node has something else");
                avoid.insert(given.from);
                continue;
            }
            Ok(Some(given)) => {
                sources.insert(given.from);
                if let Err(error) = append(given.bytes, want, &mut have).await? {
                    last = error.to_string();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                (busy, tries) = (busy + 1, tries - 1);
                last = error.to_string();
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => last = error.to_string(),
        }
        fruitless = if have.size > before { 0 } else { fruitless + 1 };
        if fruitless >= FRUITLESS {
            break;
        }
        have.flush().await?;
        if have.size < want.size {
            tracing::debug!(blob = want.digest, at = have.size, reason = last, "a blob from a peer goes on");
            tokio::time::sleep(PAUSE).await;
        }
    }
    Err(Error::Temporary(format!("blob {}: {last}", want.digest)))
}

/// One reader to its end: the outer error is ours, the inner the peer's.
async fn append(mut reader: BlobReader, want: &Want, have: &mut Part) -> Result<io::Result<()>> {
    let mut buffer = vec![0; PIECE];
    loop {
        let room = usize::try_from(want.size - have.size).unwrap_or(PIECE).min(PIECE);
        if room == 0 {
            return Ok(Ok(()));
        }
        match reader.read(buffer.get_mut(..room).unwrap_or_default()).await {
            Ok(0) => return Ok(Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("it broke off after {} of {} bytes", have.size, want.size)))),
            Ok(read) => have.add(buffer.get(..read).unwrap_or_default()).await?,
            Err(error) => return Ok(Err(error)),
        }
    }
}
