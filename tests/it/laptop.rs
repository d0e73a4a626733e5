//! `wsw up` and `wsw down`: a node in the background for a laptop, everything found by default.

use crate::harness::{free_udp_port, give_to_ordinary_user, guest, kill_below, ordinary_user, processes_below, run, until};
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

/// A home folder; when it is dropped nothing started in it goes on.
struct Home(tempfile::TempDir);

impl Drop for Home {
    fn drop(&mut self) {
        kill_below(self.0.path());
    }
}

#[test]
fn up_and_down() {
    let home = Home(tempfile::Builder::new().prefix("w").rand_bytes(5).tempdir().expect("there is a temporary folder"));
    let folder = home.0.path();
    std::fs::create_dir(folder.join("r")).expect("it is ours");
    std::fs::copy(guest("tick"), folder.join("tick.wasm")).expect("it is ours");
    give_to_ordinary_user(folder);
    // The default port may be another run's on this machine.
    let listen = format!("127.0.0.1:{}", free_udp_port());
    run(&mut wsw(folder, &["up", "--listen-addr", &listen])).ok();
    let nodes = run(&mut wsw(folder, &["node", "ls"])).ok();
    assert!(nodes.contains("Leader"), "up makes a swarm of one: {nodes}");
    run(&mut wsw(folder, &["up", "--listen-addr", &listen])).ok(); // again changes nothing
    run(&mut wsw(folder, &["service", "create", "--name", "infinite_service", "./tick.wasm"])).ok();
    let tasks = || run(&mut wsw(folder, &["service", "ps", "-q", "--no-trunc", "infinite_service"])).ok();
    let before = tasks();

    let said = run(&mut wsw(folder, &["down"])).ok();
    assert!(said.contains("1 task goes on"), "{said}");
    run(&mut wsw(folder, &["node", "ls"])).failed();
    run(&mut wsw(folder, &["up", "--listen-addr", &listen])).ok();
    assert_eq!(tasks(), before, "the task went on, and is found again");

    run(&mut wsw(folder, &["down", "--all"])).ok();
    until("nothing to run after down --all", || match processes_below(folder) {
        pids if pids.is_empty() => Ok(()),
        pids => Err(format!("{pids:?}")),
    });
}
