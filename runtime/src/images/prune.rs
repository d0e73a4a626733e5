//! Removing what nobody uses: `image prune`, and the node's own sweep of images that only tasks had brought.
//!
//! Owns: which images go. Invariant: an image that a task runs never goes, whatever the filters say.

use super::index::Index;
use super::store::Images;
use std::collections::{BTreeMap, BTreeSet};
use wsw_api::Time;
use wsw_api::image::{Image, Prune, Removed};
use wsw_api::time::{Nanos, SECOND};

/// How long an image without a tag stays after its last task: long enough for a rollback, a restart, a stack that comes and goes.
pub const UNUSED_FOR: Nanos = 3_600 * SECOND;

/// Whether the rules take an image.
fn wants(prune: &Prune, image: &Image) -> bool {
    let has = |wanted: &String| match wanted.split_once('=') {
        Some((name, value)) => image.labels.get(name).is_some_and(|found| found == value),
        None => image.labels.contains_key(wanted),
    };
    (prune.all || image.tags.is_empty())
        && prune.until.is_none_or(|until| image.created.is_none_or(|created| created < until))
        && prune.labels.iter().all(has)
        && !prune.not_labels.iter().any(has)
}

impl Images {
    /// Removes images by these rules; answers what went and how many bytes that freed.
    pub async fn prune(&self, prune: Prune, in_use: BTreeMap<String, String>) -> wsw_api::Result<(Vec<Removed>, u64)> {
        let change = move |index: &mut Index| {
            let unwanted = index.list().into_iter().filter(|image| !in_use.contains_key(&image.digest) && wants(&prune, image));
            let digests = unwanted.map(|image| image.digest).collect::<Vec<_>>();
            Ok(digests.iter().flat_map(|digest| index.delete(digest)).collect::<Vec<_>>())
        };
        let before = self.size();
        let done = self.change(change).await?;
        Ok((done, before.saturating_sub(self.size())))
    }

    /// Bytes of all blobs, each counted once.
    pub fn size(&self) -> u64 {
        let index = self.snapshot();
        let size = |blob: &&str| std::fs::metadata(self.blobs().path(blob)).map_or(0, |data| data.len());
        index.blobs().iter().map(size).sum()
    }

    /// Removes images that no tag, no task of this node (`running`) and no service (`named`) keeps, [`UNUSED_FOR`] after they were last used;
    /// and downloads that nobody came back for. Answers how many images went.
    pub async fn collect(&self, running: BTreeSet<String>, named: Vec<String>, now: Time) -> wsw_api::Result<usize> {
        self.downloads.expire();
        let change = move |index: &mut Index| {
            let named = named.iter().filter_map(|name| index.resolve(name).ok()).chain(running).collect::<BTreeSet<_>>();
            index.use_now(&named, now);
            let unused = |image: &Image| image.tags.is_empty() && !named.contains(&image.digest);
            let old = |image: &Image| image.tagged_at.is_none_or(|at| at.after(UNUSED_FOR) <= now);
            let gone = index.list().into_iter().filter(|image| unused(image) && old(image)).map(|image| image.digest).collect::<Vec<_>>();
            gone.iter().for_each(|digest| drop(index.delete(digest)));
            Ok(gone.len())
        };
        Ok(self.change(change).await?)
    }
}
