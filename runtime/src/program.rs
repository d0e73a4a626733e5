//! Starts our own binary again, as another user and away from the daemon's terminal.
//!
//! Owns: what such a process gets: argv[0], an empty environment, its own session, no new privileges, no core dumps.
//! The binary is opened once: a shim is always of the daemon's own build, also when the file was replaced meanwhile, and folders
//! above it need not be open to the other user.

#![allow(unsafe_code)]

use crate::error::{Error, Result};
use crate::users::User;
use rustix::process::{Resource, Rlimit};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The binary.
#[derive(Debug)]
pub(crate) struct Program {
    /// What is executed: the opened file by its descriptor.
    path: PathBuf,
    _file: Option<File>,
}

impl Program {
    /// Opens the binary at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(format_args!("open {}", path.display()), &e))?;
        Ok(Self { path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())), _file: Some(file) })
    }

    /// By its path: for scripts, whose interpreter has to open them again.
    #[cfg(test)]
    pub(crate) fn script(path: &Path) -> Self {
        Self { path: path.to_owned(), _file: None }
    }

    /// A command for one of the hidden subcommands. Streams are closed until the caller sets them; at most `max_file` bytes go into a file.
    pub(crate) fn command(&self, subcommand: &str, user: Option<User>, max_file: Option<u64>) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0("wsw").arg(subcommand).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = user {
            // The standard library drops supplementary groups along with root.
            command.uid(user.uid).gid(user.gid);
        }
        let prepare = move || {
            rustix::process::setsid()?;
            rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
            rustix::thread::set_no_new_privs(true)?;
            rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
            if max_file.is_some() {
                rustix::process::setrlimit(Resource::Fsize, Rlimit { current: max_file, maximum: max_file })?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes plain system calls only: no allocation, no locks, no destructors.
        unsafe { command.pre_exec(prepare) };
        command
    }
}
