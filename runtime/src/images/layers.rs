//! Finds the module in an image made of file system layers.
//!
//! Owns: the order of layers and whiteouts, as far as one file is concerned. Never: unpacks anything else of them.

use super::archive::{self, Kind};
use super::unpacked::{Staged, Unpacked};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// Wasm files looked at in an image that does not say which one it runs.
const MAX_CANDIDATES: usize = 8;

/// What a path holds after the layers so far.
enum Entry {
    File(Staged),
    /// A link or a folder.
    Other,
}

/// The module and its path. `program` is the image's entry point; without one there has to be a single `.wasm` file.
pub(crate) fn find_module(unpacked: &mut Unpacked, layers: &[Staged], program: Option<&str>, working_dir: &str) -> Result<(String, Staged)> {
    let wanted = program.map(|program| wanted(program, working_dir)).transpose()?;
    let mut entries = BTreeMap::<String, Entry>::new();
    for layer in layers {
        apply(unpacked, layer, wanted.as_deref(), &mut entries)?;
    }
    if let Some(path) = wanted {
        return match entries.remove(&path) {
            Some(Entry::File(staged)) => Ok((path, staged)),
            Some(Entry::Other) => Err(Error::Unsupported(format!("its entry point /{path} is a link or a folder; name the file itself"))),
            None => Err(Error::Invalid(format!("its entry point /{path} is in none of its layers"))),
        };
    }
    let mut files = entries.into_iter().filter_map(|(path, entry)| match entry {
        Entry::File(staged) => Some((path, staged)),
        Entry::Other => None,
    });
    match (files.next(), files.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Error::Invalid("it has no entry point and no .wasm file".into())),
        (Some((one, _)), Some((two, _))) => Err(Error::Invalid(format!("it has no entry point and several .wasm files (/{one}, /{two}); set one"))),
    }
}

/// The path of the entry point within the layers.
fn wanted(program: &str, working_dir: &str) -> Result<String> {
    if program.contains('#') {
        return Err(Error::Unsupported(format!("its entry point {program:?} names a function; only the default one is run")));
    }
    let absolute = if program.starts_with('/') { program.to_owned() } else { format!("{working_dir}/{program}") };
    archive::inside(absolute.trim_start_matches('/'))
}

fn apply(unpacked: &mut Unpacked, layer: &Staged, wanted: Option<&str>, entries: &mut BTreeMap<String, Entry>) -> Result<()> {
    let reader = unpacked.layer(layer)?;
    // Whiteouts hide what lower layers had, wherever they stand in their own layer.
    let mut upper = BTreeMap::<String, Entry>::new();
    let walked = archive::walk(reader, |name, kind, content, size| {
        let path = archive::inside(name.trim_start_matches('/'))?;
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        if file == OPAQUE {
            entries.retain(|path, _| !is_below(path, folder));
        } else if let Some(hidden) = file.strip_prefix(WHITEOUT) {
            let hidden = if folder.is_empty() { hidden.to_owned() } else { format!("{folder}/{hidden}") };
            entries.retain(|path, _| *path != hidden && !is_below(path, &hidden));
        } else if wanted.map_or(path.ends_with(".wasm"), |wanted| wanted == path) {
            let entry = match kind {
                Kind::File if upper.len() >= MAX_CANDIDATES => return Err(Error::Invalid("it has no entry point and many .wasm files; set one".into())),
                Kind::File => {
                    let staged = unpacked.stage(content)?;
                    if staged.size != size {
                        return Err(archive::truncated());
                    }
                    Entry::File(staged)
                }
                Kind::Link(_) | Kind::Folder => Entry::Other,
            };
            upper.insert(path, entry);
        }
        Ok(())
    });
    walked.map_err(|error| match error {
        Error::Invalid(text) => Error::Invalid(format!("layer {}: {text}", layer.digest)),
        other => other,
    })?;
    entries.extend(upper);
    Ok(())
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
