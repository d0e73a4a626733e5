//! What a shim of this machine gets of its sandbox: asked of one that enters it and ends.
//!
//! Owns: the question. The node says so before its first shim runs; each shim says so again when it is connected to.

use crate::program::Program;
use crate::users::User;
use std::path::Path;
use std::process::Stdio;
use wsw_api::shim::Confinement;

/// Runs `wsw wasm-shim --check`. Blocking; takes as long as a process takes to start.
pub(crate) fn check(program: &Program, user: Option<User>, code: &Path) -> Confinement {
    let mut command = program.command("wasm-shim", user, None);
    // The folders are never touched; a shim's own do not exist yet.
    for name in ["--socket", "--tasks", "--logs", "--code"] {
        command.arg(name).arg(code);
    }
    command.args(["--check", "true", "--log-level", "error"]).stdout(Stdio::piped()).stderr(Stdio::inherit());
    match command.output() {
        Ok(output) if output.status.success() => Confinement::parse(String::from_utf8_lossy(&output.stdout).trim()),
        Ok(output) => {
            tracing::error!(status = %output.status, "a Wasm shim cannot be confined");
            Confinement::default()
        }
        Err(error) => {
            tracing::error!(%error, "a Wasm shim cannot be started");
            Confinement::default()
        }
    }
}
