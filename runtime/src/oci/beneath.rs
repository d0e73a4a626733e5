//! What containerd's shim runs containers with: crun or runc, whichever is faster on this node.
//!
//! Owns: the choice: each program that is there makes one container of nothing and removes it ([`super::trial`]); the fastest that can is taken. A program that refuses the machine (crun
//! does so with control groups of both versions) or fails is passed over, and its words are kept for the case that none is left. The answer is remembered beside the shims for as
//! long as the programs stay the same files. Never: runs a container itself.

use super::tools;
use crate::files;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shim's own choice comes last: of two that are equally fast the first is taken.
const PROGRAMS: [&str; 2] = ["crun", "runc"];
const MAX_CHOICE: u64 = 64 << 10;
const CHOICE: &str = "runtime.json";
/// containerd's type of a shim's options.
const OPTIONS: &str = "containerd.runc.v1.Options";
/// The field `binary_name` of these options, as protobuf writes it: number 6, a text.
const BINARY_NAME: u8 = 6 << 3 | 2;

/// The chosen program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beneath {
    pub name: String,
    pub program: PathBuf,
    /// Which files were tried.
    stamp: String,
}

impl Beneath {
    /// What a shim for runc is told; nothing where that is what it does anyway.
    pub(super) fn options(&self) -> Option<(String, Vec<u8>)> {
        let path = self.program.as_os_str().as_encoded_bytes();
        let length = u8::try_from(path.len()).ok().filter(|length| *length < 128)?;
        Some((OPTIONS.to_owned(), [&[BINARY_NAME, length], path].concat()))
    }
}

/// The fastest that works, or why none does; `trial` tries one and says how long that took.
pub(super) async fn choose(folder: &Path, path: &str, trial: impl AsyncFn(&Path) -> Result<Duration, String>) -> Result<Beneath, String> {
    let found = PROGRAMS.iter().filter_map(|name| tools::find(path, name).map(|program| (*name, program))).collect::<Vec<_>>();
    if found.is_empty() {
        return Err("runc is not installed (Debian: package runc)".into());
    }
    let stamp = found.iter().map(|(_, program)| stamp(program)).collect::<Vec<_>>().join(" ");
    let remembered = folder.join(CHOICE);
    let known = files::read_bounded(&remembered, MAX_CHOICE).ok().and_then(|bytes| serde_json::from_slice::<Beneath>(&bytes).ok());
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Ok(known);
    }
    let (mut best, mut why): (Option<(Duration, &str, &PathBuf)>, Vec<String>) = (None, Vec::new());
    for (name, program) in &found {
        match trial(program).await {
            Ok(took) => {
                tracing::debug!(program = %program.display(), ?took, "a trial container was made");
                if best.is_none_or(|(least, ..)| took < least) {
                    best = Some((took, name, program));
                }
            }
            Err(error) => {
                tracing::info!(program = %program.display(), error, "it makes no containers here");
                why.push(format!("{name} ({}) fails: {error}", program.display()));
            }
        }
    }
    let (_, name, program) = best.ok_or_else(|| why.join("; "))?;
    let chosen = Beneath { name: name.to_owned(), program: program.clone(), stamp };
    if let Ok(bytes) = serde_json::to_vec(&chosen) {
        // A choice that is not kept is made again.
        let _ = std::fs::write(&remembered, bytes);
    }
    Ok(chosen)
}

fn stamp(program: &Path) -> String {
    let meta = program.metadata().ok();
    let of = |get: fn(&std::fs::Metadata) -> i64| meta.as_ref().map_or(0, get);
    format!("{}:{}:{}:{}", program.display(), of(|meta| meta.ino() as i64), of(MetadataExt::mtime), of(|meta| meta.len() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::oci::trial::{Orders, carry_out};
    use std::os::unix::fs::PermissionsExt;

    fn program(folder: &Path, name: &str, text: &str) {
        let file = folder.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn the_fastest_that_works_is_taken_and_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bin");
        std::fs::create_dir(&path).unwrap();
        let text = path.to_str().unwrap();
        let search = format!("{text}:/bin:/usr/bin");
        let orders =
            |program: &Path| Orders { folder: dir.path().join("trial"), program: program.to_owned(), path: search.clone(), cgroup: "/wsw/x/trial".into() };
        let choose = || choose(dir.path(), &search, async |program| carry_out(&orders(program)).await);
        // The machine's own are not asked.
        program(&path, "crun", "echo refused here >&2; exit 1");
        program(&path, "runc", "echo broken >&2; exit 2");
        let why = choose().await.unwrap_err();
        assert!(why.contains("crun (") && why.contains("fails: refused here; runc (") && why.contains("fails: broken"), "{why}");
        program(&path, "runc", "exit 0");
        assert_eq!(choose().await.unwrap().name, "runc");
        program(&path, "crun", "exit 0");
        program(&path, "runc", "sleep 1; exit 0");
        let chosen = choose().await.unwrap();
        assert_eq!((chosen.name.as_str(), &chosen.program), ("crun", &path.join("crun")));
        assert_eq!(choose().await.unwrap(), chosen, "as long as the files are the same");
        assert!(!dir.path().join("trial").exists());
    }

    #[test]
    fn the_shim_is_told_in_its_own_form() {
        let beneath = Beneath { name: "crun".into(), program: "/bin/crun".into(), stamp: String::new() };
        assert_eq!(beneath.options(), Some((OPTIONS.into(), [&[0x32, 9][..], b"/bin/crun"].concat())));
    }
}
