//! `wsw up` and `wsw down`: a node in the background for a laptop, everything found by default.

use crate::harness::{give_to_ordinary_user, guest, ordinary_user, processes_below, run, until};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A laptop's environment: no root, no flags, only the folders that a session has.
fn wsw(home: &Path, arguments: &[&str]) -> Command {
    let (binary, user) = ordinary_user(home);
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home);
    command.env("XDG_DATA_HOME", home.join("d")).env("XDG_RUNTIME_DIR", home.join("r")).current_dir(home);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

#[test]
fn up_and_down() {
    let home = tempfile::Builder::new().prefix("w").rand_bytes(5).tempdir().expect("there is a temporary folder");
    std::fs::create_dir(home.path().join("r")).expect("it is ours");
    std::fs::copy(guest("tick"), home.path().join("tick.wasm")).expect("it is ours");
    give_to_ordinary_user(home.path());
    run(&mut wsw(home.path(), &["up"])).ok();
    let nodes = run(&mut wsw(home.path(), &["node", "ls"])).ok();
    assert!(nodes.contains("Leader"), "up makes a swarm of one: {nodes}");
    run(&mut wsw(home.path(), &["up"])).ok(); // again changes nothing
    run(&mut wsw(home.path(), &["service", "create", "--name", "infinite_service", "./tick.wasm"])).ok();
    run(&mut wsw(home.path(), &["down"])).ok();
    until("nothing to run after down", || match processes_below(home.path()) {
        pids if pids.is_empty() => Ok(()),
        pids => Err(format!("{pids:?}")),
    });
    run(&mut wsw(home.path(), &["node", "ls"])).failed();
}
