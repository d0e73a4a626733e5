//! Which entry of a platform index (OCI index, Docker manifest list) this node takes.
//!
//! Owns: the choice, pure. The platform that was asked for; else the Wasm one; else this machine's own, which can be kept and passed on but
//! not run yet; else one without a platform. Attestations ("unknown") are never taken.

use oci_spec::image::{Descriptor, ImageIndex};
use wsw_api::spec::Platform;

pub(crate) const INDEXES: [&str; 2] = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// Indexes that lead to indexes: one level is seen in the field.
pub(crate) const MAX_DEPTH: usize = 3;
/// Entries of an index; the largest official images have about 20.
pub(crate) const MAX_ENTRIES: usize = 1_000;

/// True for a document that lists others.
pub(crate) fn is_index(media_type: &str) -> bool {
    INDEXES.contains(&media_type)
}

/// `os[/arch[/variant]]`, as the API's JSON or as plain text.
pub fn parse_platform(text: &str) -> Result<Option<Platform>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("{text:?} is not a platform; use OS, OS/ARCH or OS/ARCH/VARIANT, such as wasi/wasm");
    let word = |word: &str| !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let parts = text.split('/').collect::<Vec<_>>();
    if parts.len() > 3 || !parts.iter().all(|part| word(part)) {
        return Err(wrong());
    }
    let part = |at: usize| parts.get(at).map(|part| part.to_lowercase()).unwrap_or_default();
    Ok(Some(Platform { os: part(0), architecture: normal(&part(1)).to_owned() }))
}

/// The names that other tools give to the same processor.
fn normal(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "wasm32" | "wasm64" => "wasm",
        other => other,
    }
}

/// The machine's own.
pub(crate) fn native() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    Platform { os: std::env::consts::OS.into(), architecture: architecture.into() }
}

fn platform(entry: &Descriptor) -> Option<Platform> {
    let found = entry.platform().as_ref()?;
    Some(Platform { os: found.os().to_string().to_lowercase(), architecture: normal(&found.architecture().to_string().to_lowercase()).to_owned() })
}

/// Wasm of any system interface.
pub(crate) fn is_wasm(platform: &Platform) -> bool {
    platform.architecture.starts_with("wasm") || platform.os.starts_with("wasi")
}

/// True when an image of this platform is what was asked for.
pub(crate) fn fits(found: &Platform, asked: &Platform) -> bool {
    let same = |asked: &str, found: &str| asked.is_empty() || asked == found;
    (is_wasm(asked) && is_wasm(found)) || (same(&asked.os, &found.os) && same(&asked.architecture, normal(&found.architecture)))
}

/// The entry to take, or the platforms that there are.
pub(crate) fn choose<'a>(index: &'a ImageIndex, asked: Option<&Platform>) -> Result<&'a Descriptor, String> {
    let entries = || index.manifests().iter().take(MAX_ENTRIES);
    let first = |test: &dyn Fn(&Platform) -> bool| entries().find(|entry| platform(entry).is_some_and(|found| test(&found)));
    let nested = || entries().find(|entry| is_index(entry.media_type().as_ref()) && platform(entry).is_none());
    let chosen = match asked {
        Some(asked) => first(&|found| fits(found, asked)).or_else(nested),
        None => first(&is_wasm).or_else(|| first(&|found| fits(found, &native()))).or_else(|| entries().find(|entry| platform(entry).is_none())),
    };
    chosen.ok_or_else(|| {
        let known = entries().filter_map(platform).filter(|found| found.os != "unknown");
        known.map(|found| format!("{}/{}", found.os, found.architecture)).collect::<Vec<_>>().join(", ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> ImageIndex {
        let entries = platforms.iter().enumerate().map(|(at, platform)| {
            let mut entry = serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{at:064}"), "size": at});
            if let Some((os, architecture)) = platform.split_once('/') {
                entry["platform"] = serde_json::json!({"os": os, "architecture": architecture});
            }
            entry
        });
        serde_json::from_value(serde_json::json!({"schemaVersion": 2, "manifests": entries.collect::<Vec<_>>()})).unwrap()
    }

    fn taken(platforms: &[&str], asked: &str) -> Option<u64> {
        choose(&index(platforms), parse_platform(asked).unwrap().as_ref()).ok().map(Descriptor::size)
    }

    #[test]
    fn the_wasm_entry_comes_first_unless_another_is_asked_for() {
        let own = format!("linux/{}", native().architecture);
        assert_eq!(taken(&[&own, "wasi/wasm"], ""), Some(1));
        assert_eq!(taken(&[&own, "Wasip1/wasm32"], ""), Some(1));
        assert_eq!(taken(&["linux/s390y", &own, "unknown/unknown"], ""), Some(1));
        assert_eq!(taken(&["unknown/unknown", ""], ""), Some(1));
        assert_eq!(taken(&[&own, "wasip2/wasm"], &own), Some(0));
        assert_eq!(taken(&[&own, "wasip2/wasm"], "wasi/wasm"), Some(1));
        assert_eq!(taken(&[&own, "linux/s390y"], "linux/s390y"), Some(1));
        assert_eq!(taken(&[&own], "wasi"), None);
        assert_eq!(choose(&index(&["linux/s390y", "unknown/unknown"]), None).unwrap_err(), "linux/s390y");
    }

    #[test]
    fn platforms_are_words() {
        assert_eq!(parse_platform("linux/x86_64").unwrap().unwrap().architecture, "amd64");
        assert_eq!(parse_platform("linux/arm/v7").unwrap().unwrap().architecture, "arm");
        for wrong in ["a/b/c/d", "/", "linux/", "a b"] {
            assert!(parse_platform(wrong).is_err(), "{wrong}");
        }
    }
}
