//! Finds the module in an image made of file system layers.
//!
//! Owns: the order of layers, whiteouts, links inside the image: the names of all entries are read first, then the one file is taken out.
//! Invariant: a link leads nowhere but into the image. Never: unpacks anything else.

use super::archive::{self, Kind, Which};
use super::unpacked::{Staged, Unpacked};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// Names that are remembered of all layers together: a Wasm image has a handful, a whole system 100,000.
const MAX_NAMES: usize = 200_000;
/// Bytes of those names and of what their links lead to.
const MAX_NAME_BYTES: usize = 64 << 20;
/// Links on the way to one file, as the kernel counts them.
const MAX_LINKS: usize = 40;
/// The one function that is run: a command's start.
const START: &str = "_start";

/// What a path holds after the layers so far.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// In this layer.
    File(usize),
    Link(String),
    Folder,
}

type Tree = BTreeMap<String, Entry>;

/// The module and its path. `program` is the image's entry point; without one there has to be a single `.wasm` file.
pub(crate) fn find_module(unpacked: &mut Unpacked, layers: &[Staged], program: Option<&str>, working_dir: &str) -> Result<(String, Staged)> {
    let wanted = program.map(|program| wanted(program, working_dir)).transpose()?;
    let (mut tree, mut bytes) = (Tree::new(), 0);
    for (at, layer) in layers.iter().enumerate() {
        names(unpacked, at, layer, &mut tree, &mut bytes)?;
    }
    let (path, (file, layer)) = match wanted {
        Some(path) => {
            let found = resolve(&tree, &path)?;
            (path, found)
        }
        None => {
            let path = only(&tree)?;
            let found = resolve(&tree, &path)?;
            (path, found)
        }
    };
    let holder = layers.get(layer).ok_or_else(|| Error::Invalid(format!("layer {layer} is missing")))?;
    take(unpacked, holder, &file).map(|staged| (path, staged))
}

/// The single `.wasm` file of an image that does not say what it runs.
fn only(tree: &Tree) -> Result<String> {
    let mut files = tree.iter().filter(|(path, entry)| matches!(entry, Entry::File(_)) && path.ends_with(".wasm")).map(|(path, _)| path);
    match (files.next(), files.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(Error::Invalid("it has no entry point and no .wasm file".into())),
        (Some(one), Some(two)) => Err(Error::Invalid(format!("it has no entry point and several .wasm files (/{one}, /{two}); set one"))),
    }
}

/// The path of the entry point within the layers; `path#function` names what to call in it.
fn wanted(program: &str, working_dir: &str) -> Result<String> {
    let (path, function) = program.split_once('#').unwrap_or((program, START));
    if !function.is_empty() && function != START {
        return Err(Error::Unsupported(format!("its entry point {program:?} names the function {function:?}; only {START:?}, the start of a command, is run")));
    }
    let absolute = if path.starts_with('/') { path.to_owned() } else { format!("{working_dir}/{path}") };
    normal("", &absolute).filter(|path| !path.is_empty()).ok_or_else(|| Error::Invalid(format!("its entry point {program:?} leads out of the image")))
}

/// A path below the image's root: `path` seen from `folder`. The root's parent is the root's own, as in a container.
fn normal(folder: &str, path: &str) -> Option<String> {
    let mut parts = if path.starts_with('/') { Vec::new() } else { folder.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>() };
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()),
            part if part.contains('\0') => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Follows links, those of folders on the way too, to a file and its layer.
fn resolve(tree: &Tree, path: &str) -> Result<(String, usize)> {
    let mut path = path.to_owned();
    'links: for _ in 0..MAX_LINKS {
        // Each prefix in turn: the first link on the way is replaced by what it leads to.
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).collect::<Vec<_>>();
        for end in ends {
            let (head, rest) = path.split_at(end);
            if let Some(Entry::Link(target)) = tree.get(head) {
                let folder = head.rsplit_once('/').map_or("", |(folder, _)| folder);
                let broken = || Error::Invalid(format!("the link /{head} leads nowhere"));
                path = normal("", &format!("{}{rest}", normal(folder, target).ok_or_else(broken)?)).ok_or_else(broken)?;
                continue 'links;
            }
        }
        return match tree.get(&path) {
            Some(Entry::File(layer)) => Ok((path, *layer)),
            Some(Entry::Folder | Entry::Link(_)) => Err(Error::Invalid(format!("its entry point /{path} is a folder"))),
            None => Err(Error::Invalid(format!("its entry point /{path} is in none of its layers"))),
        };
    }
    Err(Error::Invalid(format!("its entry point /{path} is a link that leads in a circle")))
}

/// Reads the names of one layer. Whiteouts hide what lower layers had, wherever they stand in their own layer.
fn names(unpacked: &Unpacked, at: usize, layer: &Staged, tree: &mut Tree, bytes: &mut usize) -> Result<()> {
    let mut upper = Tree::new();
    walk(unpacked, layer, |path, kind, content, size| {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        if file == OPAQUE {
            remove_below(tree, folder);
            return Ok(());
        }
        if let Some(hidden) = file.strip_prefix(WHITEOUT) {
            let hidden = if folder.is_empty() { hidden.to_owned() } else { format!("{folder}/{hidden}") };
            tree.remove(&hidden);
            remove_below(tree, &hidden);
            return Ok(());
        }
        *bytes += path.len() + if let Kind::Link(to) | Kind::Hard(to) = &kind { to.len() } else { 0 };
        if tree.len() + upper.len() >= MAX_NAMES || *bytes > MAX_NAME_BYTES {
            return Err(Error::Invalid(format!("more than {MAX_NAMES} files, or {} MiB of names, in its layers", MAX_NAME_BYTES >> 20)));
        }
        let entry = match kind {
            Kind::File => {
                if std::io::copy(content, &mut std::io::sink()).map_err(archive::unreadable)? != size {
                    return Err(archive::truncated());
                }
                Entry::File(at)
            }
            Kind::Link(target) => Entry::Link(target),
            Kind::Hard(target) => Entry::Link(format!("/{}", archive::inside(target.trim_start_matches('/'))?)),
            Kind::Folder => Entry::Folder,
        };
        upper.insert(path, entry);
        Ok(())
    })?;
    // A file in a folder's place hides the folder's files.
    for path in upper.iter().filter(|(_, entry)| **entry != Entry::Folder).map(|(path, _)| path) {
        remove_below(tree, path);
    }
    tree.extend(upper);
    Ok(())
}

/// Takes one file out of a layer: the last of its name counts.
fn take(unpacked: &mut Unpacked, layer: &Staged, wanted: &str) -> Result<Staged> {
    let mut found = None;
    let reader = unpacked.layer(layer)?;
    let walked = archive::walk(reader, Which::Layer, |name, kind, content, size| {
        if matches!(kind, Kind::File) && archive::inside(name.trim_start_matches('/'))? == wanted {
            let staged = unpacked.stage(content)?;
            if staged.size != size {
                return Err(archive::truncated());
            }
            found = Some(staged);
        }
        Ok(())
    });
    in_layer(layer, walked)?;
    found.ok_or_else(|| Error::Invalid(format!("its entry point /{wanted} is in none of its layers")))
}

fn walk(unpacked: &Unpacked, layer: &Staged, mut visit: impl FnMut(String, Kind, &mut dyn std::io::Read, u64) -> Result<()>) -> Result<()> {
    let reader = unpacked.layer(layer)?;
    in_layer(layer, archive::walk(reader, Which::Layer, |name, kind, content, size| visit(archive::inside(name.trim_start_matches('/'))?, kind, content, size)))
}

fn in_layer(layer: &Staged, done: Result<()>) -> Result<()> {
    done.map_err(|error| match error {
        Error::Invalid(text) => Error::Invalid(format!("layer {}: {text}", layer.digest)),
        other => other,
    })
}

/// Removes all that a folder holds; a layer may ask for it a hundred thousand times.
fn remove_below(tree: &mut Tree, folder: &str) {
    if folder.is_empty() {
        return tree.clear();
    }
    let prefix = format!("{folder}/");
    let below = tree.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)).map(|(name, _)| name.clone()).collect::<Vec<_>>();
    below.iter().for_each(|name| drop(tree.remove(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_files_and_never_out() {
        let link = |target: &str| Entry::Link(target.into());
        let tree = Tree::from([
            ("usr/lib/app.wasm".into(), Entry::File(1)),
            ("lib".into(), link("usr/lib")),
            ("app".into(), link("/lib/app.wasm")),
            ("deep/up".into(), link("../../../../app")),
            ("round".into(), link("round")),
            ("gone".into(), link("/etc/passwd")),
            ("folder".into(), Entry::Folder),
        ]);
        for path in ["app", "lib/app.wasm", "deep/up", "usr/lib/app.wasm"] {
            assert_eq!(resolve(&tree, path), Ok(("usr/lib/app.wasm".into(), 1)), "{path}");
        }
        for (path, wanted) in [("round", "in a circle"), ("gone", "/etc/passwd is in none"), ("folder", "is a folder"), ("nosuch", "is in none")] {
            assert!(resolve(&tree, path).unwrap_err().to_string().contains(wanted), "{path}");
        }
    }

    #[test]
    fn entry_points_may_name_the_start() {
        assert_eq!(wanted("app.wasm", "/srv").unwrap(), "srv/app.wasm");
        assert_eq!(wanted("/a/../b.wasm#_start", "").unwrap(), "b.wasm");
        assert!(wanted("/b.wasm#other", "").unwrap_err().to_string().contains("\"other\""));
        assert!(wanted("/", "").is_err());
    }
}
