//! Files and images that are no program for us: refused before a task is made, with the reason.

use crate::harness::{Node, guest, run, wat};
use std::path::Path;
use std::process::{Command, Stdio};

#[track_caller]
fn refused(node: &Node, file: &Path, names: &[&str]) {
    let said = node.wsw(&["service", "create", "--name", "bad", &file.to_string_lossy()]).failed();
    for name in names {
        assert!(said.contains(name), "{}: {name:?} is not named: {said}", file.display());
    }
    assert_eq!(node.json("/services"), serde_json::json!([]), "nothing was made");
}

#[test]
fn files() {
    let node = Node::swarm();
    let write = |name: &str, bytes: &[u8]| {
        let file = node.folder().join(name);
        std::fs::write(&file, bytes).expect("the folder is ours");
        file
    };
    refused(&node, &node.folder().join("missing.wasm"), &["missing.wasm"]);
    refused(&node, &write("empty.wasm", b""), &["empty:latest", "empty"]);
    refused(&node, &write("text.wasm", b"this is no program"), &["text:latest"]);
    refused(&node, &write("elf.wasm", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"), &["elf:latest"]);
    refused(&node, &wat(node.folder(), "no-start"), &["_start"]);
    refused(&node, &wat(node.folder(), "foreign-import"), &["acme:rocket/launch"]);
    let good = std::fs::read(guest("sum")).expect("it is built");
    refused(&node, &write("cut.wasm", &good[..good.len() / 2]), &[]);
    let mut damaged = good;
    damaged[20..60].fill(0xff);
    refused(&node, &write("damaged.wasm", &damaged), &[]);
}

/// Code that somebody else compiled is native code: never run, whatever it is called.
#[test]
fn precompiled() {
    let node = Node::swarm();
    let input = std::fs::File::open(guest("sum")).expect("it is built");
    let compiled = Command::new(env!("CARGO_BIN_EXE_wsw"))
        .args(["wasm-compile", "--memory", "1000000000"])
        .stdin(input)
        .stderr(Stdio::inherit())
        .output()
        .expect("the binary starts");
    assert!(compiled.status.success() && compiled.stdout.starts_with(b"\x7fELF"), "the compiler writes an artefact");
    let file = node.folder().join("precompiled.wasm");
    std::fs::write(&file, compiled.stdout).expect("the folder is ours");
    refused(&node, &file, &["precompiled"]);
}

#[test]
fn an_image_that_does_not_exist() {
    let node = Node::swarm();
    // Docker's own behaviour: a warning at creation, tasks that are rejected with the reason. Nothing waits for it here.
    let run = node.wsw(&["service", "create", "-d", "--name", "ghost", "--restart-condition", "none", "nosuch:1"]);
    if run.code == 0 {
        let task = node.wait_task("ghost", "rejected");
        let reason = task["Status"]["Err"].as_str().unwrap_or_default();
        assert!(reason.contains("nosuch:1"), "{task:#}");
    } else {
        assert!(run.clone().failed().contains("nosuch:1"), "{run}");
    }
}

#[test]
fn archives() {
    let node = Node::swarm();
    let load = |name: &str, bytes: &[u8]| {
        let file = node.folder().join(name);
        std::fs::write(&file, bytes).expect("the folder is ours");
        node.wsw(&["image", "load", "-i", &file.to_string_lossy()]).failed()
    };
    load("empty.tar", b"");
    load("text.tar", b"this is no archive");
    load("zeros.tar", &[0; 4096]);

    let tar = crate::harness::image_tar(node.folder(), "sum", &guest("sum"));
    let good = std::fs::read(&tar).expect("it was just written");
    load("cut.tar", &good[..good.len() / 2]);
    // One bit of the module changed: its digest says so.
    let mut changed = good;
    let magic = changed.windows(8).position(|window| window == b"\0asm\x0d\0\x01\0").expect("the layer is in it");
    changed[magic + 30_000] ^= 1;
    let said = load("changed.tar", &changed);
    assert!(said.contains("digest"), "{said}");
    assert_eq!(node.wsw(&["image", "ls", "-q"]).ok(), "", "nothing was kept");

    run(&mut node.client(Path::new(env!("CARGO_BIN_EXE_wsw")), &["image", "load", "-i", &tar.to_string_lossy()])).ok();
    let images = node.wsw(&["image", "ls"]).ok();
    assert!(images.lines().any(|line| line.starts_with("sum ")), "{images}");
}

#[test]
fn the_store() {
    let node = Node::swarm();
    let sum = guest("sum").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "-d", "--name", "once", "--restart-condition", "none", &sum, "1", "2", "39"]).ok();
    let done = node.wait_task("once", "complete");
    assert_eq!(done["Status"]["ContainerStatus"]["ExitCode"].as_i64().unwrap_or(0), 0);
    assert_eq!(node.wsw(&["service", "logs", "--raw", "once"]).ok(), "42\n");
    let image = node.wsw(&["image", "inspect", "sum:latest"]).ok();
    let image: serde_json::Value = serde_json::from_str(&image).expect("inspect prints JSON");
    assert_eq!(image[0]["Architecture"], "wasm", "{image:#}");
    assert!(image[0]["RepoTags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "sum:latest")), "{image:#}");
    let used = node.wsw(&["image", "rm", "sum:latest"]);
    node.wsw(&["service", "rm", "once"]).ok();
    if used.code != 0 {
        crate::harness::until("the image to be free", || match node.wsw(&["image", "rm", "sum:latest"]) {
            run if run.code == 0 => Ok(()),
            run => Err(run.to_string()),
        });
    }
    assert_eq!(node.wsw(&["image", "ls", "-q"]).ok(), "");
}
