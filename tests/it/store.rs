//! The image store of a daemon that dies at any moment, while it pulls, loads and prunes: the next one finds an index whose blobs are all there, nothing
//! that grows, and the image that a task runs.

use crate::harness::archive::Layout;
use crate::harness::{self, Node, Registry, digest, guest, stays};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Deaths. Each comes a little later than the one before; together they cover a pull, a load and a prune.
const ROUNDS: u32 = 15;
const STEP: Duration = Duration::from_millis(23);
/// Images at the registry, and as archives: some megabytes each, all different.
const IMAGES: usize = 4;

/// A module of some megabytes that does nothing: what is in it is not looked at.
fn large(mark: u8) -> Vec<u8> {
    let data: String = (0..3_000_000_u32).map(|at| char::from(b'a' + ((at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ mark) % 26)).collect();
    wat::parse_str(format!(r#"(module (memory (export "memory") 64) (data (i32.const 8) "{data}") (func (export "_start")))"#)).expect("it is WAT")
}

/// Looks at all that the store consists of.
fn check(node: &Node) {
    let images = node.data_root().join("images");
    let names = |folder: &str| -> BTreeSet<String> {
        std::fs::read_dir(images.join(folder)).expect("it is there").map(|entry| entry.expect("it is").file_name().to_string_lossy().into_owned()).collect()
    };
    let index: Value = serde_json::from_slice(&std::fs::read(images.join("index.json")).expect("there is an index")).expect("it is whole");
    let records = || index["images"].as_object().expect("it lists images").iter();
    let strings = |value: &Value| value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let wanted: BTreeSet<String> =
        records().flat_map(|(_, record)| strings(&record["blobs"])).map(|blob| blob.trim_start_matches("sha256:").to_owned()).collect();
    assert_eq!(names("blobs/sha256"), wanted, "blobs that the index names, and those that are there");
    for blob in &wanted {
        let content = std::fs::read(images.join("blobs/sha256").join(blob)).expect("it is there");
        assert_eq!(digest(&content), format!("sha256:{blob}"), "a blob is not what its name says");
    }
    for (name, to) in index["names"].as_object().expect("it has names") {
        assert!(records().any(|(digest, _)| digest == to), "{name} leads nowhere");
    }
    let modules: BTreeSet<&str> = records().filter_map(|(_, record)| record["image"]["module_digest"].as_str()).collect();
    for code in names("compiled") {
        let module = code.split('-').next().unwrap_or_default();
        assert!(modules.contains(format!("sha256:{module}").as_str()), "code of no image: {code}");
    }
    assert_eq!(names("tmp"), BTreeSet::new(), "what was unpacked");
    assert!(names("").iter().all(|name| !name.starts_with('.')), "unfinished files: {:?}", names(""));
    let parts = names("downloads");
    assert!(parts.len() <= 2 * IMAGES && parts.iter().all(|name| name.ends_with(".part")), "downloads that grow: {parts:?}");
}

/// Starts a client and does not wait for it.
fn begin(node: &Node, words: &[&str]) -> Child {
    let mut command = node.client(Path::new(env!("CARGO_BIN_EXE_wsw")), words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
}

#[test]
fn killed_at_any_moment() {
    let (mut node, registry) = (Node::swarm(), Registry::start());
    // A task that goes on through all of it: its image is in use.
    let echo = harness::image_tar(node.folder(), "kept", &guest("tick"));
    node.wsw(&["load", "-i", &echo.to_string_lossy()]).ok();
    node.wsw(&["service", "create", "-d", "--name", "kept", "kept"]).ok();
    let task = node.wait_running("kept", 1);
    let (mut remote, mut local) = (Vec::new(), Vec::new());
    for at in 0..IMAGES {
        let file = node.folder().join(format!("{at}.wasm"));
        std::fs::write(&file, large(at as u8)).expect("the folder is ours");
        registry.artifact("large", &at.to_string(), &file);
        remote.push(format!("{}/large:{at}", registry.host()));
        let tar = node.folder().join(format!("{at}.tar"));
        std::fs::write(&tar, Layout::artifact(&format!("local:{at}"), &large(100 + at as u8)).tar()).expect("the folder is ours");
        local.push(tar.to_string_lossy().into_owned());
    }
    for round in 0..ROUNDS {
        let at = round as usize % IMAGES;
        let mut clients = vec![
            begin(&node, &["pull", "-q", &remote[at]]),
            begin(&node, &["pull", "-q", &remote[(at + 1) % IMAGES]]),
            begin(&node, &["load", "-q", "-i", &local[at]]),
        ];
        if round % 3 != 0 {
            clients.push(begin(&node, &["image", "prune", "-a", "-f"]));
        }
        let pid = node.pid();
        stays(
            "the daemon lives until it is killed",
            STEP * round,
            || {
                if Path::new(&format!("/proc/{pid}")).exists() { Ok(()) } else { Err("it is gone".into()) }
            },
        );
        node.kill();
        for mut client in clients {
            client.wait().expect("it is our child");
        }
        node.restart();
        check(&node);
        // At once: the tasks of the earlier daemon are only just taken up.
        node.wsw(&["image", "prune", "-a", "-f"]).ok();
        let kept = node.wsw(&["image", "ls", "-q", "kept"]).ok();
        assert_eq!(kept.lines().count(), 1, "round {round}: the image of a running task went");
    }
    assert_eq!(node.wait_running("kept", 1), task, "the task went on");
    // All that was cut off before comes in now, and is as it should be.
    for (remote, local) in remote.iter().zip(&local) {
        node.wsw(&["pull", "-q", remote]).ok();
        node.wsw(&["load", "-i", local]).ok();
    }
    check(&node);
    node.wsw(&["service", "create", "-d", "--name", "once", "--restart-condition", "none", "local:3"]).ok();
    node.wait_task("once", "complete");
    node.wsw(&["service", "rm", "once", "kept"]).ok();
    harness::until("nothing to be left of the store", || {
        node.wsw(&["image", "prune", "-a", "-f"]).ok();
        let left = std::fs::read_dir(node.data_root().join("images/blobs/sha256")).expect("it is there").count();
        if left == 0 { Ok(()) } else { Err(format!("{left} blobs")) }
    });
    check(&node);
}
