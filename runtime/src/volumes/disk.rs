//! Volumes as folders: made whole, taken away whole.
//!
//! Owns: names below `volumes/`. `.new-…` and `.gone-…` are steps that were cut off; no volume's name begins with a dot.

use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wsw_api::Time;
use wsw_api::mount::volume_name;

/// The folder that tasks see.
pub(super) const DATA: &str = "_data";
const META: &str = "volume.json";
/// Labels and options come through the API, whose bodies are at most 1 MiB.
const MAX_META: u64 = 2 << 20;
/// Names a volume was given, as Docker gives its folders: all may look in, whoever may reach it.
const DATA_MODE: u32 = 0o755;
/// Folders that a size counts at most; beyond it the size is the least that it is.
const MAX_WALK: usize = 1_000_000;

/// What is kept of a volume beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub created: Time,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// All volumes; what is none of them goes.
pub(super) fn scan(folder: &Path) -> io::Result<Vec<(String, Meta)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with(".new-") || name.starts_with(".gone-") {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "what is left of a volume cannot be removed");
            }
            continue;
        }
        if volume_name(&name).is_err() || !entry.file_type()?.is_dir() {
            tracing::warn!(path = %entry.path().display(), "this is no volume; it is left as it is");
            continue;
        }
        let meta = files::read_bounded(&entry.path().join(META), MAX_META).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
        match meta {
            Ok(meta) => found.push((name, meta)),
            Err(error) => tracing::error!(volume = name, %error, "the volume's {META} cannot be read; the volume is left as it is and not served"),
        }
    }
    Ok(found)
}

/// Makes the volume's folder; there is none of its name.
pub(super) fn make(folder: &Path, name: &str, meta: &Meta) -> io::Result<()> {
    let temp = folder.join(format!(".new-{name}"));
    let made = (|| {
        fs::DirBuilder::new().mode(0o711).create(&temp)?;
        fs::set_permissions(&temp, fs::Permissions::from_mode(0o711))?;
        let data = temp.join(DATA);
        fs::create_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(DATA_MODE))?;
        files::write_synced(&temp.join(META), &serde_json::to_vec(meta)?, 0o600)?;
        fs::rename(&temp, folder.join(name))?;
        files::sync_folder(folder)
    })();
    if made.is_err() {
        let _ = fs::remove_dir_all(&temp);
    }
    made
}

/// The volume has no name any more; what is left is deleted by the caller.
pub(super) fn take_away(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let gone = folder.join(format!(".gone-{name}"));
    if gone.exists() {
        fs::remove_dir_all(&gone)?;
    }
    fs::rename(folder.join(name), &gone)?;
    files::sync_folder(folder)?;
    Ok(gone)
}

/// Bytes that the files take on disk; what disappears meanwhile counts nothing.
pub(super) fn size(data: &Path) -> u64 {
    let (mut bytes, mut folders, mut seen) = (0, vec![data.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        seen += 1;
        if seen > MAX_WALK {
            break;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += meta.blocks() * 512;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_volume_is_read_as_it_was_meant() {
        let meta = Meta { created: Time(5), labels: [("a".into(), "b".into())].into(), options: [("type".into(), "tmpfs".into())].into() };
        for more in ["", r#","colour":1"#] {
            let text = format!(r#"{{"created":5,"labels":{{"a":"b"}},"options":{{"type":"tmpfs"}}{more}}}"#);
            assert_eq!(serde_json::from_str::<Meta>(&text).unwrap(), meta);
        }
    }
}
