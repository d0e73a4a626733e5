//! The store as the daemon uses it.
//!
//! Owns: the order of things. Load: unpack aside, classify, compile, move the blobs in, write the index. Remove: index first, then files.
//! So a crash at any moment leaves an index whose blobs are all there; what nobody names is swept at the next start.

use super::blobs::Blobs;
use super::classify::{self, Classified};
use super::code::Uses;
use super::index::{Index, Record};
use super::layout::{self, Found};
use super::reader::decompressed;
use super::reference::{self, Reference, familiar};
use super::registry::{Downloads, Patience, Peers, Pulled, Transport, Trust};
use super::snapshots::Snapshots;
use super::unpacked::{MAX_JSON, Unpacked};
use crate::compiler::Compile;
use crate::error::{Error, Result};
use crate::files;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::io::AsyncRead;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::io::SyncIoBridge;
use wsw_api::image::{Image, Removed};
use wsw_api::spec::Platform;

/// Loads that unpack at the same time: each holds a blocking thread for as long as its client sends.
const LOADS_AT_ONCE: usize = 4;

/// The images of this node.
pub struct Images {
    inner: Arc<Inner>,
    pub(super) compiler: Arc<dyn Compile>,
    loads: Semaphore,
    pub(super) compiling: tokio::sync::Mutex<()>,
    pub(super) uses: Uses,
    pub(super) transport: Arc<Transport>,
    pub(super) trust: Trust,
    pub(super) downloads: Downloads,
    /// Asked before a registry is; none while this node is in no swarm.
    peers: RwLock<Option<Arc<dyn Peers>>>,
    /// Pulls that tasks wait for, by what is pulled.
    pub(super) pulls: tokio::sync::Mutex<BTreeMap<String, Arc<OnceCell<Result<Pulled>>>>>,
}

/// What a change needs; it runs to its end on a blocking thread, also when its caller is gone.
struct Inner {
    root: PathBuf,
    blobs: Blobs,
    snapshots: Snapshots,
    /// Replaced as a whole; readers never wait for the disk.
    index: RwLock<Arc<Index>>,
    /// Held over each change of index and blobs.
    writing: Mutex<()>,
}

impl Inner {
    fn index(&self) -> Arc<Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes the changed index, then shows it.
    fn commit(&self, index: Index) -> Result<Arc<Index>> {
        index.write(&self.root.join("index.json"))?;
        let index = Arc::new(index);
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index.clone();
        Ok(index)
    }

    fn publish(&self, unpacked: Unpacked, images: Vec<(Found, Classified)>) -> Result<Vec<String>> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = (*self.index()).clone();
        let (mut staged, mut answer) = (Vec::new(), Vec::new());
        for (found, mut classified) in images {
            // An artefact need not say when it was made (then the same file has the same digest everywhere): it came to be here, now.
            classified.image.created = classified.image.created.or(Some(crate::shim::now()));
            let names = found.names.iter().map(|name| familiar(&name.tagged()).to_owned());
            answer.extend(if found.names.is_empty() { vec![classified.image.digest.clone()] } else { names.collect() });
            classified.image.tagged_at = Some(crate::shim::now());
            let blobs = classified.blobs.iter().map(|blob| blob.digest.clone()).collect();
            staged.extend(classified.blobs.into_iter().map(|blob| (blob.digest, blob.path)));
            index.add(Record { image: classified.image, blobs }, &found.names);
        }
        staged.sort();
        staged.dedup_by(|a, b| a.0 == b.0);
        self.blobs.take(&staged).map_err(|e| Error::io("keep the image", &e))?;
        drop(unpacked);
        self.commit(index)?;
        Ok(answer)
    }

    /// Changes the index, then removes the files that nothing needs any more.
    fn change<T>(&self, compiler: &dyn Compile, change: impl FnOnce(&mut Index) -> Result<T>) -> Result<T> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = (*self.index()).clone();
        let modules = index.modules();
        let done = change(&mut index)?;
        let index = self.commit(index)?;
        self.blobs.sweep(&index.blobs());
        self.snapshots.sweep(&index);
        modules.iter().filter(|module| index.kind_of(module).is_none()).for_each(|module| compiler.forget(module));
        Ok(done)
    }
}

impl Images {
    pub(crate) fn open(root: &Path, compiler: Arc<dyn Compile>, trust: Trust, patience: Patience) -> Result<Self> {
        let staging = root.join("tmp");
        let _ = std::fs::remove_dir_all(&staging);
        files::folder(&staging, 0o700)?;
        let (blobs, index) = (Blobs::open(root)?, Index::read(&root.join("index.json"))?);
        let swept = blobs.sweep(&index.blobs());
        if swept > 0 {
            tracing::info!(swept, "removed blobs that no image names");
        }
        files::sweep_temporary(root);
        // Compiled for a load that was cut off.
        compiler.kept().iter().filter(|code| index.kind_of(&code.module).is_none()).for_each(|code| compiler.forget(&code.module));
        let snapshots = Snapshots::open(root)?;
        snapshots.sweep(&index);
        let inner = Inner { root: root.to_owned(), blobs, snapshots, index: RwLock::new(Arc::new(index)), writing: Mutex::new(()) };
        Ok(Self {
            inner: Arc::new(inner),
            compiler,
            loads: Semaphore::new(LOADS_AT_ONCE),
            compiling: tokio::sync::Mutex::default(),
            uses: Uses::default(),
            transport: Arc::new(Transport::new(patience)),
            trust,
            downloads: Downloads::open(root)?,
            peers: RwLock::default(),
            pulls: tokio::sync::Mutex::default(),
        })
    }

    /// Whom to ask for parts of images from now on.
    pub fn set_peers(&self, peers: Option<Arc<dyn Peers>>) {
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    pub(super) fn peers(&self) -> Option<Arc<dyn Peers>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A part of some image of this node (a manifest too), and its size; none for what no image here needs.
    pub async fn open_blob(&self, digest: &str) -> wsw_api::Result<Option<(std::fs::File, u64)>> {
        let index = self.inner.index();
        if !reference::is_digest(digest) || !index.has_blob(digest) {
            return Ok(None);
        }
        let path = self.inner.blobs.path(digest);
        let opened = files::blocking(move || {
            let file = std::fs::File::open(path)?;
            let size = file.metadata()?.len();
            Ok::<_, std::io::Error>((file, size))
        });
        match opened.await? {
            Ok(found) => Ok(Some(found)),
            // The image was removed since the look at the index.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format_args!("read blob {digest}"), &error).into()),
        }
    }

    /// All images, in order of their digests.
    pub fn list(&self) -> Vec<Image> {
        self.inner.index().list()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.inner.index().count()
    }

    /// By tag, digest, id or unique id prefix.
    pub fn resolve(&self, reference: &str) -> wsw_api::Result<Image> {
        Ok(self.find(reference)?)
    }

    pub(crate) fn find(&self, reference: &str) -> Result<Image> {
        let index = self.inner.index();
        let digest = index.resolve(reference)?;
        index.image(&digest).ok_or_else(|| Error::NoSuchImage(reference.to_owned()))
    }

    /// The manifest's bytes, verified.
    pub async fn manifest(&self, reference: &str) -> wsw_api::Result<Vec<u8>> {
        Ok(self.blob(&self.find(reference)?.digest).await?)
    }

    /// A small blob, verified.
    pub(crate) async fn blob(&self, digest: &str) -> Result<Vec<u8>> {
        let (inner, digest) = (self.inner.clone(), digest.to_owned());
        files::blocking(move || inner.blobs.read(&digest, MAX_JSON)).await?
    }

    /// The folders of a Linux image's layers, the lowest first; what is missing is unpacked.
    pub(crate) async fn layers(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let (inner, image) = (self.inner.clone(), image.clone());
        files::blocking(move || inner.snapshots.ensure(&inner.blobs, &image)).await?
    }

    pub(super) fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.inner.root.join("tmp")
    }

    pub(super) fn snapshot(&self) -> Arc<Index> {
        self.inner.index()
    }

    pub(super) fn knows(&self, digest: &str, names: &[Reference], aliases: &[String]) -> bool {
        self.inner.index().knows(digest, names, aliases)
    }

    /// Changes names or images, then removes files that nothing needs.
    pub(super) async fn change<T: Send + 'static>(&self, change: impl FnOnce(&mut Index) -> Result<T> + Send + 'static) -> Result<T> {
        let (inner, compiler) = (self.inner.clone(), self.compiler.clone());
        files::blocking(move || inner.change(compiler.as_ref(), change)).await?
    }

    /// Takes an OCI layout or a `docker save` archive (plain, gzip or zstd). Answers the names that came in, or digests where there are none.
    /// When anything in it cannot be used, nothing changes.
    pub async fn load(&self, archive: impl AsyncRead + Send + Unpin + 'static, platform: Option<Platform>) -> wsw_api::Result<Vec<String>> {
        Ok(self.take(archive, platform).await?)
    }

    async fn take(&self, archive: impl AsyncRead + Send + Unpin + 'static, platform: Option<Platform>) -> Result<Vec<String>> {
        let _slot = self.loads.acquire().await.map_err(|_| Error::Temporary("the image store is closed".into()))?;
        let reader = decompressed(archive).await.map_err(super::archive::unreadable)?;
        let (bridge, staging) = (SyncIoBridge::new(reader), self.staging());
        let (unpacked, found) = files::blocking(move || {
            let mut unpacked = Unpacked::read(bridge, &staging)?;
            let found = layout::find(&mut unpacked, platform.as_ref())?;
            Ok::<_, Error>((unpacked, found))
        })
        .await??;
        self.publish(unpacked, found).await
    }

    /// What came in becomes part of the store: looked at, compiled, kept.
    pub(super) async fn publish(&self, unpacked: Unpacked, found: Vec<Found>) -> Result<Vec<String>> {
        let (unpacked, mut images) = files::blocking(move || classify_all(unpacked, found)).await??;
        let modules = images.iter().filter_map(|(_, classified)| classified.module.as_ref()).map(|module| module.digest.clone()).collect::<BTreeSet<_>>();
        let loaded = match self.compile(&mut images).await {
            Ok(()) => {
                let inner = self.inner.clone();
                files::blocking(move || inner.publish(unpacked, images)).await?
            }
            Err(error) => Err(error),
        };
        if loaded.is_err() {
            let index = self.inner.index();
            modules.iter().filter(|module| index.kind_of(module).is_none()).for_each(|module| self.compiler.forget(module));
        }
        loaded
    }

    /// Finds out what each module is; one that is known and compiled is not compiled again.
    async fn compile(&self, images: &mut [(Found, Classified)]) -> Result<()> {
        for (found, classified) in images {
            let Some(module) = &classified.module else { continue };
            let known = self.inner.index().kind_of(&module.digest).filter(|_| self.compiler.artifact(&module.digest).exists());
            let kind = match known {
                Some(kind) => Ok(kind),
                None => self.compiler.compile(&module.digest, &module.path).await,
            };
            self.compiler.used(&module.digest);
            self.trim_code();
            classified.image.wasm_kind = Some(kind.map_err(|error| match error {
                Error::Invalid(text) => Error::Invalid(format!("image {}: {text}", found.title())),
                other => other,
            })?);
        }
        Ok(())
    }

    /// Removes a name, or an image with all its names; files go when no other image needs them. `in_use` holds the images that tasks of
    /// this node run, with one of the tasks.
    pub async fn remove(&self, reference: &str, force: bool, in_use: BTreeMap<String, String>) -> wsw_api::Result<Vec<Removed>> {
        let reference = reference.to_owned();
        Ok(self.change(move |index| index.remove(&reference, force, &in_use)).await?)
    }

    /// Gives an image one more name.
    pub async fn tag(&self, reference: &str, name: &str) -> wsw_api::Result<String> {
        let (reference, name) = (reference.to_owned(), Reference::parse(name)?);
        if name.digest.is_some() {
            return Err(wsw_api::Error::invalid("refusing to create a tag with a digest reference"));
        }
        Ok(self.change(move |index| index.tag(&reference, &name, crate::shim::now())).await?)
    }
}

fn classify_all(mut unpacked: Unpacked, found: Vec<Found>) -> Result<(Unpacked, Vec<(Found, Classified)>)> {
    let images = found.into_iter().map(|found| classify::classify(&mut unpacked, &found).map(|classified| (found, classified))).collect::<Result<_>>()?;
    Ok((unpacked, images))
}
