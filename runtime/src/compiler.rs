//! Turns a module into code for the shims: one process per module (`wsw wasm-compile`), its result kept by digest and engine.
//!
//! Owns: the cache (`compiled/<module>-<engine>.cwasm`, read-only, its time of change is that of its last use), its bound, the limits on time,
//! memory and number of such processes.
//! Invariants: a file in the cache is complete and never changes; the compiler runs as a user of its own, with two files and nothing else.
//! Never: looks into a module itself.

use crate::error::{Error, Result};
use crate::files;
use crate::images::Code;
use crate::program::Program;
use crate::users::User;
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use wsw_api::Time;
use wsw_api::shim::{CompileReport, Kind};

/// A 13 MB guest takes 5 s on a fast machine; slow boards get room, a module made to be slow does not.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// The same guest takes 0.5 GB.
const MEMORY_LIMIT: u64 = 2 << 30;
/// Memory is the scarce resource: two at a time.
const AT_ONCE: usize = 2;
/// Code is about three times its module (256 MiB).
const MAX_ARTIFACT: u64 = 1 << 30;
/// What is read of the compiler's messages; the report is the last line.
const MAX_MESSAGES: u64 = 1 << 20;

/// All code together: some hundred programs of the usual 10 MB and more. What is over it goes by `images/code.rs`.
const MAX_CODE: u64 = 4 << 30;

/// What the image store needs of a compiler.
#[async_trait]
pub(crate) trait Compile: Send + Sync + 'static {
    /// Makes sure that code for the module exists; answers what the module is.
    async fn compile(&self, digest: &str, module: &Path) -> Result<Kind>;
    /// Where the code of a module is (or would be).
    fn artifact(&self, digest: &str) -> PathBuf;
    /// Removes all code of a module.
    fn forget(&self, digest: &str);
    /// Notes that a task has asked for the code of a module.
    fn used(&self, digest: &str);
    /// All code that there is; nobody counts tasks here.
    fn kept(&self) -> Vec<Code>;
    /// Bytes of all code together that may be kept.
    fn limit(&self) -> u64;
}

/// The last use of code is noted to within so much: a change of a file's time costs the disk's journal, too.
const NOTED: Duration = Duration::from_secs(1);

/// The compiler process and its cache.
pub(crate) struct Compiler {
    program: Arc<Program>,
    user: Option<User>,
    folder: PathBuf,
    /// First digits of the engine key's digest: part of each file's name.
    engine: String,
    slots: Semaphore,
}

impl Compiler {
    /// Keeps its results in `folder`; code of other engines is removed from it.
    pub(crate) fn open(program: Arc<Program>, user: Option<User>, folder: PathBuf, engine_key: &str) -> Result<Self> {
        files::folder(&folder, 0o755)?;
        let engine = hex::encode(Sha256::digest(engine_key)).chars().take(16).collect::<String>();
        let this = Self { program, user, folder, engine, slots: Semaphore::new(AT_ONCE) };
        this.sweep(|name| !name.ends_with(&this.suffix()));
        Ok(this)
    }

    fn suffix(&self) -> String {
        format!("-{}.cwasm", self.engine)
    }

    /// Removes files by name. A shim that has one mapped keeps it.
    fn sweep(&self, unwanted: impl Fn(&str) -> bool) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_str().is_none_or(&unwanted)) {
            if let Err(error) = files::remove(&entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "cannot remove old compiled code");
            }
        }
    }

    async fn run(&self, module: &Path, temp: &Path) -> Result<Kind> {
        let input = File::open(module).map_err(|e| Error::io(format_args!("read {}", module.display()), &e))?;
        let output = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temp);
        let output = output.map_err(|e| Error::io(format_args!("write {}", temp.display()), &e))?;
        let mut command = tokio::process::Command::from(self.program.command("wasm-compile", self.user, Some(MAX_ARTIFACT)));
        command.arg("--memory").arg(MEMORY_LIMIT.to_string()).stdin(input).stdout(output).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| Error::io("start the compiler", &e))?;
        let mut messages = Vec::new();
        let stderr = child.stderr.take();
        let ended = tokio::time::timeout(TIME_LIMIT, async {
            if let Some(stderr) = stderr {
                // Only the start of a flood is kept; the rest would lack the report anyway.
                stderr.take(MAX_MESSAGES).read_to_end(&mut messages).await?;
            }
            child.wait().await
        });
        let status = match ended.await {
            Ok(status) => status.map_err(|e| Error::io("wait for the compiler", &e))?,
            Err(_) => {
                let _ = child.kill().await;
                return Err(Error::Invalid(format!("compiling took longer than {} s", TIME_LIMIT.as_secs())));
            }
        };
        report(status, &messages)
    }
}

/// What the compiler said, by its last line.
fn report(status: ExitStatus, messages: &[u8]) -> Result<Kind> {
    let text = String::from_utf8_lossy(messages);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    match serde_json::from_str(last) {
        Ok(CompileReport::Ok { kind }) if status.success() => Ok(kind),
        Ok(CompileReport::Err { message }) => Err(Error::Invalid(message)),
        Ok(CompileReport::Ok { .. }) | Err(_) => {
            let last = last.chars().take(400).collect::<String>();
            let what = if last.is_empty() { String::new() } else { format!(": {last}") };
            Err(Error::Invalid(format!(
                "the compiler failed on it ({status}; its limits are {} MiB of memory and {} s){what}",
                MEMORY_LIMIT >> 20,
                TIME_LIMIT.as_secs()
            )))
        }
    }
}

#[async_trait]
impl Compile for Compiler {
    async fn compile(&self, digest: &str, module: &Path) -> Result<Kind> {
        let _slot = self.slots.acquire().await.map_err(|_| Error::Temporary("the compiler is closed".into()))?;
        let temp = files::temporary(&self.folder);
        let result = self.run(module, &temp).await;
        let target = self.artifact(digest);
        let (from, published) = (temp.clone(), result.is_ok());
        files::blocking(move || if published { files::publish(&from, &target, 0o444) } else { files::remove(&from) })
            .await?
            .map_err(|e| Error::io("keep compiled code", &e))?;
        result
    }

    fn artifact(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{}{}", digest.trim_start_matches("sha256:"), self.suffix()))
    }

    fn forget(&self, digest: &str) {
        let module = digest.trim_start_matches("sha256:");
        self.sweep(|name| name.starts_with(module));
    }

    fn used(&self, digest: &str) {
        let (path, now) = (self.artifact(digest), SystemTime::now());
        let noted = std::fs::metadata(&path).and_then(|data| data.modified());
        // Thousands of tasks of one module ask for it together.
        if noted.is_ok_and(|noted| now.duration_since(noted).is_ok_and(|since| since < NOTED)) {
            return;
        }
        // A cache on a disk that takes no more times forgets the wrong code first, and makes it again.
        let _ = File::open(path).and_then(|file| file.set_modified(now));
    }

    fn kept(&self) -> Vec<Code> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let code = |entry: std::fs::DirEntry| {
            let module = format!("sha256:{}", entry.file_name().to_str()?.strip_suffix(&self.suffix())?);
            let data = entry.metadata().ok()?;
            let used = data.modified().map_or(Time(0), since_epoch);
            // Some file systems do not know when a file came to be.
            let made = data.created().map_or(used, since_epoch);
            Some(Code { module, size: data.len(), made, used, tasks: 0 })
        };
        entries.filter_map(code).collect()
    }

    fn limit(&self) -> u64 {
        MAX_CODE
    }
}

fn since_epoch(at: SystemTime) -> Time {
    Time(at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A compiler that is a shell script; `$2` is the memory limit.
    fn fixture(script: &str) -> (tempfile::TempDir, Compiler, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fake");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let module = dir.path().join("m.wasm");
        fs::write(&module, b"\0asm").unwrap();
        let compiler = Compiler::open(Arc::new(Program::script(&path)), None, dir.path().join("compiled"), "engine-1").unwrap();
        (dir, compiler, module)
    }

    #[tokio::test]
    async fn the_result_is_kept_read_only_and_goes_with_its_engine() {
        let (dir, compiler, module) =
            fixture(r#"test "$1 $2 $3" = "wasm-compile --memory 2147483648" || exit 9; test -z "$HOME" || exit 8; cat; echo '{"ok":{"kind":"command"}}' >&2"#);
        assert_eq!(compiler.compile("sha256:ab", &module).await, Ok(Kind::Command));
        let artifact = compiler.artifact("sha256:ab");
        assert_eq!(fs::read(&artifact).unwrap(), b"\0asm");
        assert_eq!(fs::metadata(&artifact).unwrap().permissions().mode() & 0o777, 0o444);
        let other = Compiler::open(compiler.program.clone(), None, dir.path().join("compiled"), "engine-2").unwrap();
        assert!(!artifact.exists());
        assert_ne!(other.artifact("sha256:ab"), artifact);
    }

    #[tokio::test]
    async fn a_refusal_carries_the_compilers_text_and_leaves_nothing() {
        let (dir, compiler, module) = fixture(r#"echo noise >&2; echo '{"err":{"message":"import wasi:nn is not served"}}' >&2; exit 1"#);
        assert_eq!(compiler.compile("sha256:ab", &module).await, Err(Error::Invalid("import wasi:nn is not served".into())));
        assert_eq!(fs::read_dir(dir.path().join("compiled")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_compiler_that_dies_is_told_with_its_status() {
        let (_dir, compiler, module) = fixture("kill -9 $$");
        let error = compiler.compile("sha256:ab", &module).await.unwrap_err().to_string();
        assert!(error.contains("signal: 9"), "{error}");
    }
}
