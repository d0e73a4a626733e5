//! The Engine API's seam over this node's images and the registries beyond.
//!
//! Owns: the translation between the crates' types, events of images, which images are in use.

use super::backend::DaemonBackend;
use super::host;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use wsw_api::event::{Action, Event, Kind};
use wsw_api::registry::RegistryAuth;
use wsw_api::spec::Platform;
use wsw_api::{Class, Error, Result, Time};
use wsw_dockerapi::image_store::{Archive, Code, Image, ImageStore, Look, ProgressStream, Prune, Removed, Step};
use wsw_runtime::images::{self as store, Images, Sink};

/// Between two sweeps of images that nothing uses; they stay for an hour anyway.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

impl DaemonBackend {
    fn store(&self) -> &Images {
        self.node.wasm.images()
    }

    fn image_event(&self, action: Action, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        // Nobody listening is no error.
        let _ = self.node.local_events.send(Event { time: host::now(), kind: Kind::Image, action, id: name.to_owned(), detail: String::new(), attributes });
    }

    /// Images that tasks of this node run, each with one of its tasks. A service may name its image without a digest.
    fn images_in_use(&self) -> BTreeMap<String, String> {
        let named = self.node.worker().map(|worker| worker.images_in_use()).unwrap_or_default();
        let digest = |(name, task): (String, wsw_api::TaskId)| {
            let container = wsw_dockerapi::container_id(task);
            Some((self.store().resolve(&name).ok()?.digest, container))
        };
        named.into_iter().filter_map(digest).collect()
    }

    /// Tells those who listen what went.
    fn removed(&self, done: Vec<Removed>) -> Vec<Removed> {
        for step in &done {
            match step {
                Removed::Untagged(name) => self.image_event(Action::Untag, name),
                Removed::Deleted(digest) => self.image_event(Action::Delete, digest),
            }
        }
        done
    }

    /// Sweeps now and then what neither a tag nor a task nor a service keeps.
    pub fn start_sweeping(self: &Arc<Self>) {
        let backend = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                // Not at once: first the tasks of an earlier daemon are taken up, they keep images too.
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(backend) = backend.upgrade() else { return };
                backend.sweep().await;
            }
        });
    }

    async fn sweep(&self) {
        let running = self.images_in_use().into_keys().collect::<BTreeSet<_>>();
        let named = match self.node.manager() {
            Ok(manager) => match manager.read().await {
                Ok(view) => view
                    .all_services()
                    .flat_map(|service| service.previous_spec.iter().chain([&service.spec]).map(|spec| spec.task.container.image.clone()).collect::<Vec<_>>())
                    .collect(),
                // Who cannot see the services keeps what they may name.
                Err(_) => return,
            },
            Err(_) => Vec::new(),
        };
        match self.store().collect(running, named, host::now()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "removed images that nothing uses any more"),
            Err(error) => tracing::warn!(%error, "cannot sweep images"),
        }
    }
}

fn platform(text: Option<&str>) -> Result<Option<Platform>> {
    store::parse_platform(text.unwrap_or_default()).map_err(|why| Error::invalid(format!("platform: {why}")))
}

/// Runs work that reports progress. Its failure before the first line is the answer; dropping the stream ends the work.
async fn follow<F>(work: impl FnOnce(Sink) -> F) -> Result<ProgressStream>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sink, mut lines) = Sink::channel();
    let running = AbortOnDropHandle::new(tokio::spawn(work(sink)));
    let end =
        |done: std::result::Result<Result<()>, tokio::task::JoinError>| done.unwrap_or_else(|error| Err(Error::internal(format!("it was cut off: {error}"))));
    let Some(first) = lines.recv().await else {
        end(running.await)?;
        return Ok(stream::empty().boxed());
    };
    let rest = stream::unfold((lines, Some(running)), move |(mut lines, running)| async move {
        match lines.recv().await {
            Some(line) => Some((Ok(line), (lines, running))),
            None => end(running?.await).err().map(|error| (Err(error), (lines, None))),
        }
    });
    Ok(stream::iter([Ok(first)]).chain(rest).boxed())
}

#[async_trait]
impl ImageStore for DaemonBackend {
    async fn images(&self) -> Result<Vec<Image>> {
        Ok(self.store().list())
    }

    async fn image(&self, reference: &str) -> Result<Image> {
        self.store().resolve(reference)
    }

    async fn image_load(&self, body: BoxStream<'static, std::io::Result<Bytes>>, asked: Option<String>) -> Result<Vec<String>> {
        let reader = tokio_util::io::StreamReader::new(body.into_stream());
        let names = self.store().load(reader, platform(asked.as_deref())?).await?;
        for name in &names {
            self.image_event(Action::Load, name);
        }
        Ok(names)
    }

    async fn image_remove(&self, reference: &str, force: bool) -> Result<Vec<Removed>> {
        let removed = self.store().remove(reference, force, self.images_in_use()).await?;
        Ok(self.removed(removed))
    }

    async fn image_pull(&self, reference: String, asked: Option<String>, auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        let request = store::PullRequest { reference, platform: platform(asked.as_deref())?, auth };
        let node = self.node.clone();
        follow(move |sink| async move {
            let named = store::Reference::parse(&request.reference).map_err(Error::from)?;
            let pulled = match named.tag.is_none() && named.digest.is_none() {
                true => node.wasm.images().pull_all(&request, &sink).await?,
                false => vec![node.wasm.images().pull(&request, &sink).await?],
            };
            for one in pulled {
                let attributes = BTreeMap::from([("name".to_owned(), one.name.clone())]);
                let _ = node.local_events.send(Event {
                    time: host::now(),
                    kind: Kind::Image,
                    action: Action::Pull,
                    id: one.name,
                    detail: String::new(),
                    attributes,
                });
            }
            Ok(())
        })
        .await
    }

    async fn image_push(&self, reference: String, auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        let node = self.node.clone();
        follow(move |sink| async move {
            node.wasm.images().push(&reference, auth.as_ref(), &sink).await?;
            let attributes = BTreeMap::from([("name".to_owned(), reference.clone())]);
            let _ =
                node.local_events.send(Event { time: host::now(), kind: Kind::Image, action: Action::Push, id: reference, detail: String::new(), attributes });
            Ok(())
        })
        .await
    }

    async fn image_look(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Look> {
        let here = self.store().resolve(reference).ok();
        let local = |found: &Image| Look {
            media_type: found.manifest_media_type.clone(),
            digest: found.digest.clone(),
            size: found.manifest_size,
            platforms: vec![found.platform.clone()],
        };
        // What was loaded is at no registry; what is named by digest cannot have changed there.
        if let Some(found) = here.as_ref().filter(|found| found.repo_digests.is_empty() || reference.contains('@')) {
            return Ok(local(found));
        }
        match (self.store().look(reference, auth.as_ref()).await, here) {
            (Ok(look), _) => Ok(look),
            (Err(error), Some(found)) if error.class == Class::Unavailable => {
                tracing::warn!(reference, %error, "the registry does not answer; the image that is here is taken");
                Ok(local(&found))
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn image_tag(&self, reference: &str, name: &str) -> Result<()> {
        let digest = self.store().tag(reference, name).await?;
        self.image_event(Action::Tag, &digest);
        Ok(())
    }

    async fn image_history(&self, reference: &str) -> Result<Vec<Step>> {
        self.store().history(reference).await
    }

    async fn image_save(&self, references: Vec<String>, asked: Option<String>) -> Result<Archive> {
        let reader = self.store().save(&references, platform(asked.as_deref())?.as_ref()).await?;
        Ok(tokio_util::io::ReaderStream::new(reader).boxed())
    }

    async fn image_prune(&self, prune: Prune) -> Result<(Vec<Removed>, u64)> {
        let (done, freed) = self.store().prune(prune, self.images_in_use()).await?;
        Ok((self.removed(done), freed))
    }

    fn image_code(&self) -> Vec<Code> {
        self.store().code()
    }

    async fn image_code_prune(&self, before: Option<Time>) -> Result<Vec<Code>> {
        Ok(self.store().prune_code(before))
    }

    async fn registry_login(&self, auth: RegistryAuth) -> Result<()> {
        self.store().login(&auth).await
    }
}
