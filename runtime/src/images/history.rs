//! How an image came to be, by its configuration (`docker history`).

use super::layout::parse;
use super::store::Images;
use crate::error::Result;
use oci_spec::image::ImageManifest;
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use wsw_api::Time;
use wsw_api::image::Step;

/// Steps that are shown: some images have hundreds.
const MAX_STEPS: usize = 10_000;
/// What docker shows for steps whose images are not here.
const MISSING: &str = "<missing>";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    history: Vec<Row>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    created: Option<String>,
    created_by: String,
    comment: String,
    empty_layer: bool,
}

impl Images {
    /// The steps, the newest first. An artefact has none written down: it is one step.
    pub async fn history(&self, reference: &str) -> wsw_api::Result<Vec<Step>> {
        let image = self.find(reference)?;
        let manifest: ImageManifest = parse(&self.blob(&image.digest).await?, "manifest")?;
        let config: Result<Config> = parse(&self.blob(manifest.config().digest().as_ref()).await?, "configuration");
        let mut sizes = manifest.layers().iter().map(|layer| layer.size());
        let mut steps = Vec::new();
        for row in config.unwrap_or_default().history.into_iter().take(MAX_STEPS) {
            let size = if row.empty_layer { 0 } else { sizes.next().unwrap_or_default() };
            let created = row.created.as_deref().and_then(timestamp);
            steps.push(Step { id: MISSING.into(), created, created_by: row.created_by, comment: row.comment, size, tags: Vec::new() });
        }
        if steps.is_empty() {
            let size = sizes.sum();
            steps.push(Step { id: MISSING.into(), created: image.created, created_by: String::new(), comment: String::new(), size, tags: Vec::new() });
        }
        if let Some(newest) = steps.last_mut() {
            (newest.id, newest.tags) = (image.digest, image.tags);
        }
        steps.reverse();
        Ok(steps)
    }
}

pub(super) fn timestamp(text: &str) -> Option<Time> {
    let nanos = time::OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos).ok().map(Time)
}
