//! Where a daemon keeps things, and the defaults that client and daemon share.
//!
//! Owns: the default folders for root and for a user. Never: creates anything.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Longest path of a Unix socket (`sun_path` without its final zero).
pub const MAX_SOCKET_PATH: usize = 107;
/// Room that socket names need below the exec root: `/wasm/s/<10 digits>.sock.fd`.
const SOCKET_NAME_ROOM: usize = 28;

/// Absolute paths of one daemon.
#[derive(Debug, Clone)]
pub struct Paths {
    pub socket: PathBuf,
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    pub pidfile: PathBuf,
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `$XDG_RUNTIME_DIR/wsw`, or a folder of the user's own below `/tmp` when there is none.
fn user_runtime_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("wsw"),
        None => std::env::temp_dir().join(format!("wsw-{}", rustix::process::geteuid().as_raw())),
    }
}

/// `/run/wsw` for root, else the user's own.
pub fn default_exec_root() -> PathBuf {
    if is_root() { PathBuf::from("/run/wsw") } else { user_runtime_dir() }
}

/// `/var/lib/wsw` for root, else `$XDG_DATA_HOME/wsw` (`~/.local/share/wsw`).
pub fn default_data_root() -> Result<PathBuf> {
    if is_root() {
        return Ok(PathBuf::from("/var/lib/wsw"));
    }
    if let Some(dir) = std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("wsw"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_DATA_HOME nor HOME is set: say where to keep state with --data-root")?;
    Ok(PathBuf::from(home).join(".local/share/wsw"))
}

/// Where dockerd looks for registries' certificates; empty (none) for a user without a home.
pub fn registry_certs() -> PathBuf {
    if is_root() {
        return PathBuf::from("/etc/docker/certs.d");
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from).or_else(home);
    config.map(|config| config.join("docker/certs.d")).unwrap_or_default()
}

/// The Engine socket that daemon and client use when nothing is said.
pub fn default_socket() -> PathBuf {
    default_exec_root().join("wsw.sock")
}

impl Paths {
    /// Fills in the defaults and refuses what cannot work.
    pub fn resolve(host: Option<&str>, data_root: Option<PathBuf>, exec_root: Option<PathBuf>, pidfile: Option<PathBuf>) -> Result<Self> {
        let socket = match host {
            None => default_socket(),
            Some(text) => match text.strip_prefix("unix://") {
                Some(path) if path.starts_with('/') => PathBuf::from(path),
                Some(_) => bail!("-H {text}: the path of a unix socket must be absolute: unix:///path/to.sock"),
                None => bail!("-H {text}: the daemon listens on unix:// sockets only"),
            },
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).with_context(|| format!("cannot resolve {}", path.display()));
        let exec_root = absolute(exec_root.unwrap_or_else(default_exec_root))?;
        let paths = Self {
            data_root: absolute(data_root.map_or_else(default_data_root, Ok)?)?,
            pidfile: absolute(pidfile.unwrap_or_else(|| exec_root.join("wsw.pid")))?,
            socket,
            exec_root,
        };
        if paths.exec_root.as_os_str().len() + SOCKET_NAME_ROOM > MAX_SOCKET_PATH {
            bail!(
                "--exec-root {}: too long ({} bytes): sockets below it need paths of at most {MAX_SOCKET_PATH} bytes; use one of at most {} bytes",
                paths.exec_root.display(),
                paths.exec_root.as_os_str().len(),
                MAX_SOCKET_PATH - SOCKET_NAME_ROOM
            );
        }
        if paths.socket.as_os_str().len() > MAX_SOCKET_PATH {
            bail!("-H unix://{}: a socket path has at most {MAX_SOCKET_PATH} bytes", paths.socket.display());
        }
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_flags_are_refused_by_name() {
        let resolve = |host: Option<&str>, exec: Option<String>| Paths::resolve(host, Some("/d".into()), exec.map(PathBuf::from), None);
        assert!(resolve(Some("unix:///s"), Some("/e".into())).is_ok());
        assert!(resolve(Some("unix://s"), None).unwrap_err().to_string().contains("-H unix://s"));
        assert!(resolve(Some("tcp://127.0.0.1:1"), None).unwrap_err().to_string().contains("-H tcp://"));
        assert!(resolve(None, Some(format!("/{}", "x".repeat(100)))).unwrap_err().to_string().contains("--exec-root"));
    }
}
