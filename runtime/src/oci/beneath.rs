//! What containerd's shim runs containers with: crun or runc, whichever is faster on this node.
//!
//! Owns: the trial: each program that is there makes one container of nothing and removes it; the fastest that can is taken. A program that refuses the machine (crun does so with
//! control groups of both versions) or fails is passed over, and its words are kept for the case that none is left. The answer is remembered beside the shims for as long as the
//! programs stay the same files. Invariant: a trial leaves nothing. Never: runs a process in the trial's container.

use super::tools;
use crate::files;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The shim's own choice comes last: of two that are equally fast the first is taken.
const PROGRAMS: [&str; 2] = ["crun", "runc"];
/// A trial takes some 30 ms; on a busy machine a second.
const LIMIT: Duration = Duration::from_secs(10);
/// Of a program's last words.
const MAX_WORDS: usize = 300;
const MAX_SAID: u64 = 64 << 10;
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

/// The fastest that works, or why none does.
pub(super) async fn choose(folder: &Path, path: &str, cgroups: &str) -> Result<Beneath, String> {
    let found = PROGRAMS.iter().filter_map(|name| tools::find(path, name).map(|program| (*name, program))).collect::<Vec<_>>();
    if found.is_empty() {
        return Err("runc is not installed (Debian: package runc)".into());
    }
    let stamp = found.iter().map(|(_, program)| stamp(program)).collect::<Vec<_>>().join(" ");
    let remembered = folder.join(CHOICE);
    let known = files::read_bounded(&remembered, MAX_SAID).ok().and_then(|bytes| serde_json::from_slice::<Beneath>(&bytes).ok());
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Ok(known);
    }
    let (mut best, mut why): (Option<(Duration, &str, &PathBuf)>, Vec<String>) = (None, Vec::new());
    for (name, program) in &found {
        match trial(&folder.join("trial"), program, path, &format!("{cgroups}/trial")).await {
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

/// Makes a container and removes it; how long the making took.
async fn trial(folder: &Path, program: &Path, path: &str, cgroup: &str) -> Result<Duration, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    files::remove_tree(folder).map_err(failed)?;
    let root = folder.join("rootfs");
    for made in [&root.join("proc"), &root.join("dev"), &folder.join("state")] {
        std::fs::create_dir_all(made).map_err(failed)?;
    }
    // Looked for, and never run.
    std::fs::write(root.join("x"), "").and_then(|()| std::fs::set_permissions(root.join("x"), PermissionsExt::from_mode(0o755))).map_err(failed)?;
    let spaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/x"], "env": ["PATH=/"], "cwd": "/"},
        "root": {"path": root, "readonly": true},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
        "linux": {"namespaces": spaces, "cgroupsPath": cgroup, "resources": {"pids": {"limit": 16}}},
    });
    std::fs::write(folder.join("config.json"), config.to_string()).map_err(failed)?;
    let id = format!("trial{}", std::process::id());
    let begin = Instant::now();
    let made = run(folder, program, path, &["create", "--bundle", &folder.to_string_lossy(), &id]).await;
    let took = begin.elapsed();
    let gone = run(folder, program, path, &["delete", "--force", &id]).await;
    let removed = files::remove_tree(folder).map_err(failed);
    made.and(gone).and(removed).map(|()| took)
}

/// A container's first process has what its maker has for output: a file, which nobody waits for.
async fn run(folder: &Path, program: &Path, path: &str, words: &[&str]) -> Result<(), String> {
    let said = folder.join("said");
    let output = std::fs::File::create(&said).map_err(|error| format!("{}: {error}", said.display()))?;
    let mut command = Command::new(program);
    command.arg("--root").arg(folder.join("state")).args(words).env_clear().env("PATH", path).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).kill_on_drop(true);
    let ended = tokio::time::timeout(LIMIT, command.status()).await.map_err(|_| format!("no end of {} within {} s", words[0], LIMIT.as_secs()))?;
    let status = ended.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&files::read_bounded(&said, MAX_SAID).unwrap_or_default()).trim().chars().take(MAX_WORDS).collect::<String>();
    Err(if text.is_empty() { status.to_string() } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let choose = || choose(dir.path(), &search, "/wsw/x");
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
