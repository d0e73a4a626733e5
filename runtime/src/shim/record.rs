//! What a later daemon has to know of a shim: `<exec root>/wasm/<n>.shim.json`, in a folder that the shims cannot write to.
//!
//! Owns: that file. Written before the process is started, removed when it is gone.

use super::pool::Group;
use crate::error::{Error, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use wsw_api::shim::Network;

const SUFFIX: &str = ".shim.json";
const MAX_RECORD: u64 = 64 * 1024;

/// One shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub number: u32,
    /// The engine that its tasks' code was compiled for.
    pub engine: String,
    /// Version of `wsw_api::shim`.
    pub contract: u32,
    pub capacity: u32,
    pub group: Group,
    pub network: Network,
    pub boot: String,
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number}{SUFFIX}"))
}

impl Record {
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let target = path(folder, self.number);
        let temp = files::temporary(folder);
        let bytes = serde_json::to_vec(self).map_err(|error| Error::Invalid(format!("shim record: {error}")))?;
        fs::write(&temp, bytes).and_then(|()| fs::rename(&temp, &target)).map_err(|e| Error::io(format_args!("write {}", target.display()), &e))
    }
}

pub(crate) fn remove(folder: &Path, number: u32) {
    let _ = files::remove(&path(folder, number));
}

/// All records, in order of their numbers. What cannot be read is removed: its tasks will find no shim.
pub(crate) fn read_all(folder: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse::<u32>().ok()) else { continue };
        let bytes = files::read_bounded(&entry.path(), MAX_RECORD).ok();
        match bytes.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok()).filter(|record| record.number == number) {
            Some(record) => records.push(record),
            None => remove(folder, number),
        }
    }
    records.sort_by_key(|record| record.number);
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a build left it, and as a newer one would; another group is another form.
    #[test]
    fn stored_records_are_read_as_they_were_meant() {
        let service = wsw_api::ServiceId::from_bytes([9; 16]);
        let text =
            |group: &str, more: &str| format!(r#"{{"number":7,"engine":"48","contract":2,"capacity":5000,"group":{group},"network":"inet","boot":"b"{more}}}"#);
        let record = |group| Record { number: 7, engine: "48".into(), contract: 2, capacity: 5_000, group, network: Network::Inet, boot: "b".into() };
        let own = format!(r#"{{"Service":"{service}"}}"#);
        for (written, group) in [(r#""Shared""#, Group::Shared), (own.as_str(), Group::Service(service))] {
            for more in ["", r#","colour":["red"]"#] {
                assert_eq!(serde_json::from_str::<Record>(&text(written, more)).unwrap(), record(group), "{written}{more}");
            }
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path(), 7), text(r#""Shared""#, "")).unwrap();
        fs::write(path(folder.path(), 8), "{").unwrap();
        assert_eq!(read_all(folder.path()), [record(Group::Shared)]);
        assert!(!path(folder.path(), 8).exists());
    }
}
