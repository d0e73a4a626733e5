//! Images of this node to the API.

use super::{some_list, some_text, time};
use crate::image_store::{Code, Image, Look, Removed, Step};
use crate::model::image as api;
use wsw_api::time::SECOND;

/// What docker prints for "no name".
const NONE: &str = "<none>";

/// `app@sha256:…`: as a registry gave it, and for names that came without one by the image's own digest.
fn digests(image: &Image) -> Vec<String> {
    let known = |name: &str| image.repo_digests.iter().any(|digest| digest.split('@').next() == Some(name));
    let mut names: Vec<&str> = image.tags.iter().map(|tag| repository(tag)).collect();
    names.dedup();
    let own = names.into_iter().filter(|name| !known(name)).map(|name| format!("{name}@{}", image.digest));
    image.repo_digests.iter().cloned().chain(own).collect()
}

/// The name without its tag; a colon before the last slash is a port.
fn repository(tag: &str) -> &str {
    match tag.rsplit_once(':') {
        Some((name, version)) if !version.contains('/') => name,
        _ => tag,
    }
}

fn descriptor(image: &Image) -> api::Descriptor {
    api::Descriptor { media_type: Some(image.manifest_media_type.clone()), digest: Some(image.digest.clone()), size: Some(image.manifest_size) }
}

/// A line of the list. Clients before 1.43 print what they find for images without names.
pub fn summary(image: &Image, minor: u32) -> api::ImageSummary {
    let none = |list: Vec<String>, word: String| if list.is_empty() && minor < 43 { vec![word] } else { list };
    api::ImageSummary {
        id: Some(image.digest.clone()),
        parent: Some(String::new()),
        tags: Some(none(image.tags.clone(), format!("{NONE}:{NONE}"))),
        digests: Some(none(digests(image), format!("{NONE}@{NONE}"))),
        created: Some(image.created.map_or(0, |at| i64::try_from(at.0 / SECOND).unwrap_or_default())),
        size: Some(image.size),
        virtual_size: (minor < 44).then_some(image.size),
        shared_size: Some(-1),
        labels: Some(image.labels.clone()),
        containers: Some(-1),
        descriptor: (minor >= 48).then(|| descriptor(image)),
    }
}

/// The layers as they unpack, where the configuration says so; artefacts have none such.
fn layers(image: &Image) -> &[String] {
    if image.diff_ids.is_empty() { &image.layers } else { &image.diff_ids }
}

/// Compiled code, in the shape of what docker's builder keeps: both are made here and can be made again.
pub fn code(code: &Code) -> api::CacheRecord {
    api::CacheRecord {
        id: Some(code.module.trim_start_matches("sha256:").to_owned()),
        kind: Some("compiled"),
        description: Some(format!("code of the Wasm module {}", code.module)),
        in_use: Some(code.tasks > 0),
        shared: Some(false),
        size: Some(code.size),
        created: Some(time::rfc3339(code.made)),
        last_used: Some(time::rfc3339(code.used)),
        usage_count: Some(code.tasks),
    }
}

/// What pruning them did.
pub fn code_pruned(gone: &[Code]) -> api::CachePruned {
    let ids = gone.iter().map(|code| code.module.trim_start_matches("sha256:").to_owned());
    api::CachePruned { deleted: Some(ids.collect()), reclaimed: Some(gone.iter().map(|code| code.size).sum()) }
}

/// The whole of it.
pub fn inspect(image: &Image, minor: u32) -> api::ImageInspect {
    api::ImageInspect {
        id: Some(image.digest.clone()),
        tags: Some(image.tags.clone()),
        digests: Some(digests(image)),
        parent: Some(String::new()),
        comment: some_text(&image.wasm_kind.as_ref().map(|kind| format!("wasm {}", kind.as_str())).unwrap_or_default()),
        created: image.created.map(time::rfc3339),
        author: some_text(&image.author),
        config: Some(api::ImageConfig {
            user: some_text(&image.user),
            env: some_list(&image.env),
            cmd: some_list(&image.cmd),
            working_dir: some_text(&image.working_dir),
            entrypoint: some_list(&image.entrypoint),
            labels: (!image.labels.is_empty()).then(|| image.labels.clone()),
        }),
        architecture: Some(image.platform.architecture.clone()),
        os: Some(image.platform.os.clone()),
        size: Some(image.size),
        virtual_size: (minor < 44).then_some(image.size),
        root_fs: Some(api::RootFs { kind: Some("layers"), layers: some_list(layers(image)) }),
        metadata: Some(api::Metadata { tagged: image.tagged_at.map(time::rfc3339) }),
        descriptor: (minor >= 48).then(|| descriptor(image)),
    }
}

/// What `service create` asks before it sends a spec: the digest to pin and the platforms for the scheduler.
pub fn distribution(look: &Look) -> api::Distribution {
    let platform = |platform: &wsw_api::spec::Platform| api::OciPlatform { architecture: Some(platform.architecture.clone()), os: Some(platform.os.clone()) };
    let descriptor = api::Descriptor { media_type: Some(look.media_type.clone()), digest: Some(look.digest.clone()), size: Some(look.size) };
    api::Distribution { descriptor: Some(descriptor), platforms: Some(look.platforms.iter().map(platform).collect()) }
}

/// One step of a history.
pub fn step(step: &Step) -> api::HistoryStep {
    api::HistoryStep {
        id: Some(step.id.clone()),
        created: Some(step.created.map_or(0, |at| i64::try_from(at.0 / SECOND).unwrap_or_default())),
        created_by: Some(step.created_by.clone()),
        tags: Some(step.tags.clone()).filter(|tags| !tags.is_empty()),
        size: Some(step.size),
        comment: Some(step.comment.clone()),
    }
}

/// What `prune` answers.
pub fn pruned(done: &[Removed], freed: u64) -> api::Pruned {
    api::Pruned { deleted: Some(removed(done)).filter(|done| !done.is_empty()), freed: Some(freed) }
}

/// What a removal did, in order.
pub fn removed(done: &[Removed]) -> Vec<api::Removed> {
    let line = |step: &Removed| match step {
        Removed::Untagged(name) => api::Removed { untagged: Some(name.clone()), ..Default::default() },
        Removed::Deleted(digest) => api::Removed { deleted: Some(digest.clone()), ..Default::default() },
    };
    done.iter().map(line).collect()
}

/// The name as docker prints it in "No such image": with a tag.
pub fn with_tag(name: &str) -> String {
    if name.contains('@') || name.starts_with("sha256:") || repository(name) != name { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_and_gain_tags_but_never_ports() {
        assert_eq!(repository("reg.example:5000/app"), "reg.example:5000/app");
        assert_eq!(repository("reg.example:5000/app:v1"), "reg.example:5000/app");
        assert_eq!(with_tag("app"), "app:latest");
        assert_eq!(with_tag("reg.example:5000/app"), "reg.example:5000/app:latest");
        assert_eq!(with_tag("app@sha256:00"), "app@sha256:00");
    }
}
