//! The trial of what may run containers: one container of nothing is made and removed.
//!
//! ```text
//! daemon ── wsw container-trial (adopts what its children leave, and waits for all of it) ── runc create, runc delete
//! ```
//! Owns: that program, what it is told and how it answers. A container's first process outlives the runc that made it and ends with the container: here it has a parent that waits for it.
//! Invariant: a trial leaves nothing, neither a file nor a process nor one that ended and was not waited for. Never: runs a process in the trial's container.

use crate::files;
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The hidden word for it.
pub const WORD: &str = "container-trial";
/// One of the two steps takes some 30 ms; on a busy machine a second.
const LIMIT: Duration = Duration::from_secs(10);
/// Both, and waiting for what they leave.
const WHOLE: Duration = Duration::from_secs(25);
/// What was killed ends at once.
const LAST_BREATH: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// Of a program's last words.
const MAX_WORDS: usize = 300;
const MAX_SAID: u64 = 64 << 10;

/// What is tried, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub folder: PathBuf,
    pub program: PathBuf,
    pub path: String,
    pub cgroup: String,
}

/// Has our own binary try it.
pub(super) async fn order(exe: &Path, orders: &Orders) -> Result<Duration, String> {
    let mut command = Command::new(exe);
    command.arg0("wsw").arg(WORD).arg(json!(orders).to_string()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(WHOLE, command.output()).await.map_err(|_| format!("no end of the trial within {} s", WHOLE.as_secs()))?;
    let output = ended.map_err(|error| error.to_string())?;
    match serde_json::from_slice::<Result<Duration, String>>(&output.stdout) {
        Ok(answer) => answer,
        Err(_) => Err(format!("the trial ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The program: its orders are the first word, its answer is printed.
pub fn main(words: &[String]) -> ExitCode {
    let Some(orders) = words.first().and_then(|text| serde_json::from_str::<Orders>(text).ok()) else { return ExitCode::FAILURE };
    let made = set_child_subreaper(Some(getpid())).map_err(|error| error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let answer = made.and(runtime).and_then(|runtime| runtime.block_on(carry_out(&orders)));
    wait_for_all();
    println!("{}", json!(answer));
    ExitCode::SUCCESS
}

/// Waits for all children, its own and those it adopted.
fn wait_for_all() {
    let begin = Instant::now();
    while begin.elapsed() < LAST_BREATH {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(BETWEEN_LOOKS),
            Err(_) => return,
        }
    }
}

/// Makes a container and removes it; how long the making took.
pub(super) async fn carry_out(Orders { folder, program, path, cgroup }: &Orders) -> Result<Duration, String> {
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
    use std::os::unix::process::CommandExt;

    /// Its container's first process writes who its parent is, once the one that made it has ended; it ends with the container.
    const PROGRAM: &str = r#"#!/bin/sh
case "$3" in
create) maker=$$ sh -c 'echo $$ >first; while parent=$(sed -n "s/^PPid:.//p" /proc/$$/status); [ "$parent" = "$maker" ]; do sleep 0.01; done; echo $parent >parent; exec sleep 600' & ;;
delete) while ! [ -s parent ]; do sleep 0.01; done; cp parent ..; kill -9 $(cat first); cp first .. ;;
esac
"#;

    #[test]
    fn what_a_trial_leaves_is_waited_for() {
        // The test is its own program: it adopts.
        if let Ok(folder) = std::env::var("WSW_TRIAL") {
            let orders = Orders {
                folder: Path::new(&folder).join("trial"),
                program: Path::new(&folder).join("runc"),
                path: "/usr/bin:/bin".into(),
                cgroup: "/x".into(),
            };
            assert_eq!(main(&[json!(orders).to_string()]), ExitCode::SUCCESS);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("runc");
        std::fs::write(&file, PROGRAM).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.arg0("trial").args(["--exact", "oci::trial::tests::what_a_trial_leaves_is_waited_for", "--nocapture"]).env("WSW_TRIAL", dir.path());
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("\"Ok\""), "{said}");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap().trim().to_owned();
        assert_eq!(read("parent"), pid, "not the machine's first process");
        assert!(!Path::new("/proc").join(read("first")).exists(), "it ended and was waited for");
        assert!(!dir.path().join("trial").exists());
    }
}
