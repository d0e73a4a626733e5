//! What every test of a running node uses: a node in a temporary folder, its clients, guests, and waiting for a state.
//!
//! Owns: starting, stopping and cleaning up real processes. Never: an assertion about wsw's behaviour, or a sleep in place of a state.

pub mod archive;
mod client;
mod cluster;
mod command;
pub mod containers;
mod disk;
pub mod forge;
mod guests;
mod http;
mod leftovers;
mod load;
mod managers;
mod net;
mod node;
mod proxy;
mod recorder;
mod registry;
mod room;
pub mod stranger;
mod user;
mod wait;

pub use client::{Client, connect_from, has, lab};
pub use cluster::{Cluster, load_everywhere};
pub use command::{Follow, Run, run, run_with_input};
pub use disk::SmallDisk;
pub use guests::{foreign_guest, guest, image_tar, large_guest, module, wat};
pub use http::{get, get_from, over_unix};
pub use leftovers::{kill, kill_below, processes_below, remove_group, shims_below};
pub use load::{Failure, Load};
pub use managers::{Managers, WAN};
pub use net::Net;
pub use node::{Node, Setup};
pub use proxy::Proxy;
pub use recorder::Recorder;
pub use registry::{Authority, Registry, digest};
pub use room::take as room;
pub use user::{give_to_ordinary_user, ordinary_user};
pub use wait::{BOUND, free_tcp_port, free_udp_port, settled, stays, until};

/// Where `scripts/setup` keeps what it fetched.
fn cache() -> Option<std::path::PathBuf> {
    std::env::var_os("WSW_CACHE").map(std::path::PathBuf::from).or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
        Some(base.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?.join("wsw"))
    })
}

/// containerd's shim of the 2 line, which speaks version 3 of the Task API.
pub fn newer_shim() -> std::path::PathBuf {
    let file = cache().map(|folder| folder.join("containerd-2/containerd-shim-runc-v2"));
    file.filter(|file| file.is_file()).expect("no shim of containerd 2 on this machine (it could not be fetched, or never was): run scripts/setup")
}

/// The stock docker clients of this machine: the one on the path, Debian's, and one of version 28 or newer; `scripts/setup` fetches what is missing.
pub fn docker_clients() -> Vec<std::path::PathBuf> {
    let cache = cache();
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).map(|folder| folder.join("docker"));
    let mut found: Vec<_> = on_path.filter(|file| file.is_file()).take(1).collect();
    for fetched in ["docker-debian", "docker-newest"] {
        found.extend(cache.iter().map(|folder| folder.join(fetched).join("usr/bin/docker")).filter(|file| file.is_file()));
    }
    assert!(!found.is_empty(), "no docker client on this machine: run scripts/setup");
    found
}

/// Our client and all of docker's.
pub fn clients() -> Vec<std::path::PathBuf> {
    std::iter::once(std::path::PathBuf::from(env!("CARGO_BIN_EXE_wsw"))).chain(docker_clients()).collect()
}

/// Containers need root; without it there is nothing that a test of them could see.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The newest docker client. What is compared word by word is compared with it alone: older ones differ among themselves.
pub fn newest_docker() -> std::path::PathBuf {
    let newest = docker_clients().into_iter().max_by_key(|docker| major(docker)).expect("there is one");
    assert!(major(&newest) >= 28, "no docker client of version 28 or newer on this machine: run scripts/setup");
    newest
}

/// The major version of a docker client.
fn major(docker: &std::path::Path) -> u32 {
    let version = std::process::Command::new(docker).arg("--version").output().expect("the client starts");
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    text.split_whitespace().nth(2).and_then(|version| version.split('.').next()?.parse().ok()).unwrap_or_else(|| panic!("{text:?}"))
}
