//! What a manifest is: a Wasm image in one of the formats that exist, or something that this version does not run.
//!
//! Formats (names as in wasm-to-oci, wkg, runwasi, buildx): the CNCF artifact and its older forms hold the module as a layer; images
//! "from scratch" hold it as a file in a tar layer. Looked at in this order: type of the configuration, its architecture, types of the layers,
//! annotations; the module's own first bytes have the last word. Images of other platforms are taken as they are: kept, passed on, not run.

use super::choose;
use super::history::timestamp;
use super::layers;
use super::layout::{DOCKER_MANIFEST, Found, MAX_LAYERS, OCI_MANIFEST, annotations, check_count, checked, head, parse};
use super::unpacked::{Staged, Unpacked};
use crate::error::{Error, Result};
use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;
use std::collections::BTreeMap;
use wsw_api::health::HealthConfig;
use wsw_api::image::Image;
use wsw_api::spec::Platform;

/// The CNCF Wasm artifact; exactly one layer.
const ARTIFACT_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// wasm-to-oci and krustlet.
const LEGACY_CONFIG: &str = "application/vnd.wasm.config.v1+json";
/// Layers that are the module itself.
const MODULE_LAYERS: [&str; 4] = [
    "application/wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];
const SPIN: &str = "application/vnd.fermyon.spin.";
const TITLE: &str = "org.opencontainers.image.title";
/// Marks of a Wasm image whose platform says otherwise (crun).
const COMPAT: [(&str, &[&str]); 2] = [("module.wasm.image/variant", &["compat", "compat-smart"]), ("run.oci.handler", &["wasm", "wasm-smart"])];
/// Name of a module that has none.
const DEFAULT_NAME: &str = "app.wasm";
/// Largest module: compiling one of 13 MB takes half a GB.
const MAX_MODULE: u64 = 256 << 20;

/// An image that can run here, with the files it consists of.
#[derive(Debug)]
pub(crate) struct Classified {
    /// All but the kind, which the compiler tells.
    pub image: Image,
    /// None for an image that is not Wasm.
    pub module: Option<Staged>,
    /// Manifest, configuration, layers, module.
    pub blobs: Vec<Staged>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    architecture: Option<String>,
    os: Option<String>,
    created: Option<String>,
    author: Option<String>,
    config: Option<Process>,
    rootfs: Option<RootFs>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Process {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    healthcheck: Option<Healthcheck>,
    shell: Option<Vec<String>>,
}

/// Durations are nanoseconds; what is negative says nothing.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Healthcheck {
    test: Option<Vec<String>>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

impl From<Healthcheck> for HealthConfig {
    fn from(found: Healthcheck) -> Self {
        let nanos = |value: i64| u64::try_from(value).unwrap_or_default();
        Self {
            test: found.test.unwrap_or_default(),
            interval: nanos(found.interval),
            timeout: nanos(found.timeout),
            start_period: nanos(found.start_period),
            start_interval: nanos(found.start_interval),
            retries: u32::try_from(found.retries).unwrap_or_default(),
        }
    }
}

/// Reads one image of the archive.
pub(crate) fn classify(unpacked: &mut Unpacked, found: &Found) -> Result<Classified> {
    let title = found.title();
    let (manifest, config, staged) = documents(unpacked, found)?;
    let process = config.config.unwrap_or_default();
    let mut entrypoint = process.entrypoint.unwrap_or_default();
    let cmd = process.cmd.unwrap_or_default();
    let working_dir = process.working_dir.unwrap_or_default();
    let layers = manifest.layers().iter().map(|layer| checked(unpacked, layer, "layer")).collect::<Result<Vec<_>>>()?;

    let own = Platform { os: config.os.unwrap_or_default().to_lowercase(), architecture: config.architecture.unwrap_or_default().to_lowercase() };
    let module = match module_layer(&manifest, &title)? {
        Some(at) => Some(layers.get(at).cloned().ok_or_else(|| Error::Invalid(format!("image {title}: layer {at} is missing")))?),
        None if !is_wasm(&manifest, &own) => None,
        None => {
            let program = entrypoint.first().or(cmd.first()).map(String::as_str);
            let (name, module) = layers::find_module(unpacked, &layers, program, &working_dir).map_err(|error| named(&title, error))?;
            if entrypoint.is_empty() && cmd.is_empty() {
                entrypoint = vec![format!("/{name}")];
            }
            Some(module)
        }
    };
    if module.is_some() && entrypoint.is_empty() && cmd.is_empty() {
        let name = manifest.layers().iter().find_map(|layer| annotations(layer.annotations().as_ref(), TITLE));
        entrypoint = vec![name.unwrap_or_else(|| DEFAULT_NAME.to_owned())];
    }
    if let Some(module) = &module {
        check_module(module, &title)?;
    }

    let mut labels = process.labels.unwrap_or_default();
    labels.extend(manifest.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    let image = Image {
        digest: found.manifest.digest.clone(),
        tags: Vec::new(),
        repo_digests: found.aliases.clone(),
        platform: if module.is_some() { Platform { os: "wasi".into(), architecture: "wasm".into() } } else { own },
        size: found.manifest.size + staged.size + layers.iter().map(|layer| layer.size).sum::<u64>(),
        created: config.created.as_deref().and_then(timestamp),
        labels,
        wasm_kind: None,
        module_digest: module.as_ref().map(|module| module.digest.clone()).unwrap_or_default(),
        entrypoint,
        cmd,
        env: process.env.unwrap_or_default(),
        working_dir,
        manifest_media_type: manifest.media_type().as_ref().map_or(OCI_MANIFEST, |media| media.as_ref()).to_owned(),
        manifest_size: found.manifest.size,
        layers: layers.iter().map(|layer| layer.digest.clone()).collect(),
        config_digest: staged.digest.clone(),
        diff_ids: config.rootfs.unwrap_or_default().diff_ids,
        author: config.author.unwrap_or_default(),
        user: process.user.unwrap_or_default(),
        stop_signal: process.stop_signal.unwrap_or_default(),
        volumes: process.volumes.unwrap_or_default().into_keys().collect(),
        healthcheck: process.healthcheck.map(HealthConfig::from),
        shell: process.shell.unwrap_or_default(),
        tagged_at: None,
    };
    let blobs = [found.manifest.clone(), staged].into_iter().chain(layers).chain(module.clone()).collect();
    Ok(Classified { image, module, blobs })
}

fn named(title: &str, error: Error) -> Error {
    match error {
        Error::Invalid(text) => Error::Invalid(format!("image {title}: {text}")),
        Error::Unsupported(text) => Error::Unsupported(format!("image {title}: {text}")),
        other => other,
    }
}

fn documents(unpacked: &Unpacked, found: &Found) -> Result<(ImageManifest, Config, Staged)> {
    let what = format!("manifest {}", found.manifest.digest);
    let manifest: ImageManifest = parse(&unpacked.json(&found.manifest, &what)?, &what)?;
    let media = manifest.media_type().as_ref().map(|media| media.as_ref().to_owned());
    if media.as_deref().is_some_and(|media| media != OCI_MANIFEST && media != DOCKER_MANIFEST) {
        return Err(Error::Unsupported(format!("image {}: manifests of type {} are not supported", found.title(), media.unwrap_or_default())));
    }
    check_count(&format!("manifest {}: layers", found.manifest.digest), manifest.layers().len(), MAX_LAYERS)?;
    let config = checked(unpacked, manifest.config(), "configuration")?;
    let parsed = parse(&unpacked.json(&config, "configuration")?, &format!("configuration {}", config.digest))?;
    Ok((manifest, parsed, config))
}

/// Which layer is the module itself; none when the layers are file systems.
fn module_layer(manifest: &ImageManifest, title: &str) -> Result<Option<usize>> {
    let media = |layer: &Descriptor| layer.media_type().to_string();
    let is_module = |layer: &Descriptor| MODULE_LAYERS.contains(&media(layer).as_str());
    let modules = manifest.layers().iter().enumerate().filter(|(_, layer)| is_module(layer)).map(|(at, _)| at).collect::<Vec<_>>();
    let config = manifest.config().media_type().to_string();
    let artifact = config == ARTIFACT_CONFIG || config == LEGACY_CONFIG;
    // A Spin application of one component and nothing else runs as that component; its triggers, files and further components would not.
    if manifest.layers().iter().any(|layer| media(layer).starts_with(SPIN)) {
        let others = manifest.layers().iter().filter(|layer| !is_module(layer) && !media(layer).starts_with(SPIN)).count();
        return match (modules.as_slice(), others) {
            ([only], 0) => Ok(Some(*only)),
            (several, files) => Err(Error::Unsupported(format!(
                "image {title} is a Spin application of {} components and {files} files; only those of exactly one component (wasi:http or wasi:cli) run here",
                several.len()
            ))),
        };
    }
    match (modules.as_slice(), artifact) {
        ([only], false) => Ok(Some(*only)),
        ([only], true) if manifest.layers().len() == 1 => Ok(Some(*only)),
        ([], false) => Ok(None),
        _ => Err(Error::Invalid(format!("image {title}: {} layers, {} of them Wasm; a Wasm artifact has exactly one", manifest.layers().len(), modules.len()))),
    }
}

/// An image of file systems is Wasm when its platform or its annotations say so.
fn is_wasm(manifest: &ImageManifest, platform: &Platform) -> bool {
    let compat = COMPAT.iter().any(|(key, values)| annotations(manifest.annotations().as_ref(), key).is_some_and(|value| values.contains(&value.as_str())));
    choose::is_wasm(platform) || compat
}

/// The first bytes: `\0asm`. Anything else never reaches the compiler.
fn check_module(module: &Staged, title: &str) -> Result<()> {
    if module.size > MAX_MODULE {
        return Err(Error::Invalid(format!("image {title}: the module has {} MiB; at most {} are taken", module.size >> 20, MAX_MODULE >> 20)));
    }
    let head = head(module)?;
    if head.starts_with(b"\0asm") {
        return Ok(());
    }
    let what = match head.as_slice() {
        [0x7f, b'E', b'L', b'F', ..] => "is a native or precompiled (ELF) file; modules are compiled on the node, and only from Wasm",
        [] => "is empty",
        _ => "is not Wasm (it does not begin with \"\\0asm\")",
    };
    Err(Error::Invalid(format!("image {title}: the module {what}")))
}
