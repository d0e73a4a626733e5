//! Opening the runtime on its folders.
//!
//! Owns: the layout below data root and exec root, who may pass where, and the refusals that belong to it.

use super::services::Services;
use super::{PREPARING, Wasm};
use crate::bundle::{self, Bundles};
use crate::compiler::{Compile, Compiler};
use crate::error::{Error, Result};
use crate::files;
use crate::images::{Images, Insecure, Patience, Trust};
use crate::mounts::Mounts;
use crate::program::Program;
use crate::shim::{self, Cgroups, HOMES, Pool, Settings};
use crate::users::{self, User, Users};
use crate::volumes::Volumes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use wsw_api::NodeId;
use wsw_api::shim::Confinement;

/// Bytes of a Unix socket's path (`sun_path` without its final zero).
const MAX_SOCKET_PATH: usize = 107;
/// The longest name below the exec root: a shim's number has at most ten digits.
const LONGEST_SOCKET: &str = "wasm/s/4294967295.sock.fd";

/// What the runtime has to know of its daemon.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_root: PathBuf,
    /// On a tmpfs where there is one.
    pub exec_root: PathBuf,
    /// Our own binary: shims and the compiler are hidden subcommands of it.
    pub exe: PathBuf,
    /// Changes with everything that makes compiled code unusable.
    pub engine_key: String,
    /// The node's id once it has one.
    pub node: Option<NodeId>,
    /// Tasks per shim.
    pub shim_capacity: u32,
    /// Registries that are spoken to without certificates (dockerd's flag), as they were given.
    pub insecure_registries: Vec<String>,
    /// Certificates of single registries (docker's `certs.d`).
    pub registry_certs: PathBuf,
    /// Shims of containers beside the usual one: name and program.
    pub runtimes: BTreeMap<String, PathBuf>,
}

pub(super) async fn open(config: Config) -> Result<Arc<Wasm>> {
    check_socket_room(&config.exec_root)?;
    let Config { data_root, exec_root, exe, engine_key, node, shim_capacity, insecure_registries, registry_certs, runtimes: _ } = config;
    let trust = Trust { insecure: Insecure::parse(&insecure_registries)?, certs: registry_certs };
    let boot = bundle::boot_id();
    let (paths, key) = ((data_root, exec_root), engine_key.clone());
    let parts = files::blocking(move || Parts::open(&paths.0, &paths.1, &exe, &key, trust)).await??;
    let Parts { program, users, images, bundles, volumes, logs, code, folder, cgroups, confinement } = parts;
    let mounts = Mounts::new(volumes.clone(), users.shim);
    let (user, capacity) = (users.shim, shim_capacity);
    let isolation = isolation(&confinement, user, cgroups.as_ref());
    tracing::info!(isolation, "Wasm isolation");
    let pool = Pool::open(Settings { program, user, folder, logs: logs.clone(), code, cgroups, confinement, engine_key, capacity, boot: boot.clone() })?;
    pool.reconnect().await;
    tracing::debug!(?node, user = ?users.shim, "Wasm runtime is open");
    let (services, preparing) = (Services::default(), Semaphore::new(PREPARING));
    Ok(Arc::new_cyclic(|me| Wasm { images, bundles, pool, services, volumes, mounts, preparing, logs, isolation, boot, me: me.clone() }))
}

struct Parts {
    program: Arc<Program>,
    users: Users,
    images: Images,
    bundles: Bundles,
    volumes: Volumes,
    logs: PathBuf,
    code: PathBuf,
    folder: PathBuf,
    cgroups: Option<Cgroups>,
    confinement: Confinement,
}

impl Parts {
    fn open(data_root: &Path, exec_root: &Path, exe: &Path, engine_key: &str, trust: Trust) -> Result<Self> {
        let root = rustix::process::geteuid().is_root();
        // Others may pass these folders but not read them; without root everything is one user's, and stays closed to others.
        let passable = if root { 0o711 } else { 0o700 };
        for folder in [data_root, exec_root] {
            if !root && folder.is_dir() {
                continue;
            }
            files::folder(folder, passable)?;
        }
        let users = Users::choose(data_root)?;
        let (images, logs, folder) = (data_root.join("images"), data_root.join("logs"), exec_root.join("wasm"));
        users::check_reachable("exec root", &folder, users.shim)?;
        users::check_reachable("data root", &images, users.shim)?;
        files::folder(&images, passable)?;
        files::folder(&logs, passable)?;
        if root {
            // Its folders belong to the shims' user, it does not.
            std::os::unix::fs::chown(&logs, Some(0), Some(0)).map_err(|e| Error::io(format_args!("chown {}", logs.display()), &e))?;
        }
        files::folder(&folder, passable)?;
        let code = images.join("compiled");
        let program = Arc::new(Program::open(exe)?);
        let compiler: Arc<dyn Compile> = Arc::new(Compiler::open(program.clone(), users.compiler, code.clone(), engine_key)?);
        let confinement = shim::check(&program, users.shim, &code);
        // Two daemons of one machine have two data roots.
        let id = hex::encode(Sha256::digest(data_root.as_os_str().as_bytes())).chars().take(12).collect::<String>();
        let cgroups = if root { Cgroups::open(&folder, &id) } else { None };
        let bundles = Bundles::open(folder.join(HOMES), users.shim);
        let volumes = Volumes::open(data_root.join("volumes"), passable)?;
        let images = Images::open(&images, compiler, trust, Patience::default())?;
        Ok(Self { program, users, images, bundles, volumes, logs, code, folder, cgroups, confinement })
    }
}

/// In words for `node inspect`: what was really had.
fn isolation(confinement: &Confinement, user: Option<User>, cgroups: Option<&Cgroups>) -> String {
    let own = user.map(|_| "user");
    let group = cgroups.filter(|groups| groups.has_memory()).map(|_| "cgroup");
    let parts = own.into_iter().chain(confinement.parts()).chain(group).collect::<Vec<_>>();
    if parts.is_empty() { "process only".into() } else { parts.join(", ") }
}

fn check_socket_room(exec_root: &Path) -> Result<()> {
    let length = exec_root.as_os_str().as_bytes().len() + 1 + LONGEST_SOCKET.len();
    if length > MAX_SOCKET_PATH {
        let (root, room) = (exec_root.display(), MAX_SOCKET_PATH - 1 - LONGEST_SOCKET.len());
        return Err(Error::Invalid(format!("exec root {root}: too long for the names of Unix sockets; use a path of at most {room} bytes (--exec-root)")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_root_too_long_for_socket_names_is_refused_with_the_bound() {
        assert!(check_socket_room(Path::new(&format!("/{}", "a".repeat(80)))).is_ok());
        let error = check_socket_room(Path::new(&format!("/{}", "a".repeat(81)))).unwrap_err();
        assert!(error.to_string().contains("at most 81 bytes"), "{error}");
    }
}
