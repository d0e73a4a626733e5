//! Which entry of a platform index (OCI index, Docker manifest list) this node takes.
//!
//! Owns: the choice, pure. The platform that was asked for; else the Wasm one; else this machine's own; else one without a platform. Of several for one processor the newest
//! variant that runs ([`super::variant`]). Attestations ("unknown") are never taken. The variant that was asked for stands behind the architecture: `arm/v7`.

use super::variant;
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
    let (architecture, variant) = (part(1), part(2));
    let architecture = normal(&architecture);
    Ok(Some(Platform { os: part(0), architecture: if variant.is_empty() { architecture.to_owned() } else { format!("{architecture}/{variant}") } }))
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
    let architecture = asked.architecture.split('/').next().unwrap_or_default();
    (is_wasm(asked) && is_wasm(found)) || (same(&asked.os, &found.os) && same(architecture, normal(&found.architecture)))
}

/// How well an entry of a platform that fits suits the processor: less is better, none does not run.
fn rank(entry: &Descriptor, asked: &Platform) -> Option<u8> {
    let found = entry.platform().as_ref()?;
    let architecture = normal(&found.architecture().to_string().to_lowercase()).to_owned();
    let wanted = asked.architecture.split_once('/').map(|(_, variant)| variant.to_lowercase());
    let wanted = wanted.unwrap_or_else(|| if architecture == native().architecture { variant::own() } else { String::new() });
    variant::rank(&architecture, &found.variant().as_deref().unwrap_or_default().to_lowercase(), &wanted)
}

/// The entry to take, or the platforms that there are.
pub(crate) fn choose<'a>(index: &'a ImageIndex, asked: Option<&Platform>) -> Result<&'a Descriptor, String> {
    let entries = || index.manifests().iter().take(MAX_ENTRIES);
    let first = |test: &dyn Fn(&Platform) -> bool| entries().find(|entry| platform(entry).is_some_and(|found| test(&found)));
    let best = |asked: &Platform| {
        let fitting = entries().filter(|entry| platform(entry).is_some_and(|found| fits(&found, asked)));
        fitting.filter_map(|entry| Some((rank(entry, asked)?, entry))).min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    };
    let nested = || entries().find(|entry| is_index(entry.media_type().as_ref()) && platform(entry).is_none());
    let chosen = match asked {
        Some(asked) => best(asked).or_else(nested),
        None => first(&is_wasm).or_else(|| best(&native())).or_else(|| entries().find(|entry| platform(entry).is_none())),
    };
    chosen.ok_or_else(|| {
        let known = entries().filter(|entry| platform(entry).is_some_and(|found| found.os != "unknown")).filter_map(|entry| entry.platform().as_ref());
        let words = known.map(|found| [Some(found.os().to_string()), Some(found.architecture().to_string()), found.variant().clone()].into_iter().flatten());
        words.map(|words| words.collect::<Vec<_>>().join("/")).collect::<Vec<_>>().join(", ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> ImageIndex {
        let entries = platforms.iter().enumerate().map(|(at, platform)| {
            let mut entry = serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{at:064}"), "size": at});
            if let Some((os, architecture)) = platform.split_once('/') {
                let (architecture, variant) = architecture.split_once('/').unwrap_or((architecture, ""));
                entry["platform"] = serde_json::json!({"os": os, "architecture": architecture});
                if !variant.is_empty() {
                    entry["platform"]["variant"] = variant.into();
                }
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
    fn the_newest_variant_that_runs_is_taken() {
        let arm = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8", "linux/amd64", "linux/s390x"];
        for (asked, index) in [
            ("linux/arm/v7", 1),
            ("linux/arm/v6", 2),
            ("linux/arm/v5", 0),
            ("linux/arm", 1),
            ("linux/arm/v8", 1),
            ("linux/arm64", 3),
            ("linux/aarch64/v8", 3),
            ("linux/s390x", 5),
        ] {
            assert_eq!(taken(&arm, asked), Some(index), "{asked}");
        }
        assert_eq!(taken(&["linux/arm/v7", "linux/arm/v6"], "linux/arm/v5"), None, "newer than asked for");
        assert_eq!(taken(&["linux/arm", "linux/arm/v6"], "linux/arm/v6"), Some(1), "without a word it is v7");
        assert_eq!(taken(&["linux/arm64"], "linux/arm64/v8"), Some(0));
        assert_eq!(taken(&["linux/mips/odd"], "linux/mips/odd"), Some(0));
        assert_eq!(taken(&["linux/amd64/v4", "linux/amd64", "linux/amd64/v2"], "linux/amd64/v3"), Some(2));
        assert_eq!(choose(&index(&["linux/arm/v9"]), parse_platform("linux/arm/v6").unwrap().as_ref()).unwrap_err(), "linux/arm/v9");
    }

    #[test]
    fn platforms_are_words() {
        assert_eq!(parse_platform("linux/x86_64").unwrap().unwrap().architecture, "amd64");
        assert_eq!(parse_platform("linux/arm/v7").unwrap().unwrap().architecture, "arm/v7");
        for wrong in ["a/b/c/d", "/", "linux/", "a b"] {
            assert!(parse_platform(wrong).is_err(), "{wrong}");
        }
    }
}
