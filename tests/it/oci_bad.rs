//! Containers and bad input: layers that reach outside, images that are not what they say, processes that cannot be run.

use crate::harness::Node;
use crate::harness::containers::{config, contained, docker_save, entry, layout, system};
use serde_json::{Value, json};
use tar::EntryType::{Block, Char, Directory, Link, Regular, Symlink};

fn load(node: &Node, name: &str, layers: &[Vec<u8>], config: &Value) {
    let file = node.folder().join("bad.tar");
    std::fs::write(&file, docker_save(name, layers, config)).expect("the folder is ours");
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
}

/// Creates a service that is not restarted; its task's end.
fn end_of(node: &Node, service: &str, arguments: &[&str]) -> Value {
    node.wsw(&[&["service", "create", "-d", "--restart-condition", "none", "--name", service], arguments].concat()).ok();
    crate::harness::until("the task's end", || {
        let tasks = node.tasks(service);
        let task = tasks.first().ok_or("there is no task yet")?;
        let state = task["Status"]["State"].as_str().unwrap_or_default();
        if ["failed", "rejected", "complete"].contains(&state) { Ok(task.clone()) } else { Err(state.to_owned()) }
    })
}

fn said(task: &Value) -> &str {
    task["Status"]["Err"].as_str().unwrap_or_default()
}

fn settings() -> Value {
    json!({"Cmd": ["tail", "-f", "/dev/null"], "Env": ["PATH=/bin"], "StopSignal": "KILL"})
}

#[test]
fn hostile_layers_reach_nothing() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let node = Node::swarm();
    let outside = node.folder().join("outside");
    std::fs::create_dir(&outside).expect("the folder is ours");
    std::fs::write(outside.join("kept"), "kept").expect("the folder is ours");
    let out = outside.to_string_lossy().into_owned();
    let file = |name: &str| entry(name, Regular, 0o644, "", b"evil");
    let ended = |entries: &[Vec<u8>]| [entries.concat(), vec![0; 1024]].concat();
    // Refused by name; the service's status says which entry it was.
    for (name, upper, why) in [
        ("up", ended(&[file("../../evil")]), "entry \"../../evil\" leads out of the image"),
        ("deep", ended(&[file("a/../../evil")]), "leads out of the image"),
        ("hard", ended(&[entry("passwd", Link, 0o644, "../../../etc/passwd", b"")]), "leads out of the image"),
        ("gone", ended(&[entry("copy", Link, 0o644, "no/such/file", b"")]), "which is not in the image"),
        ("hides", ended(&[file("etc/.wh...")]), "hides no name"),
        ("link", ended(&[entry("link", Symlink, 0o777, &out, b""), file("link/evil")]), "its folder is a link that leads nowhere in the image"),
        ("through", ended(&[file("bin/busybox/evil"), file("bin/busybox/evil/more")]), "Not a directory"),
    ] {
        let layers = [system(), upper];
        load(&node, &format!("{name}:1"), &layers, &config(&layers, &settings()));
        let task = end_of(&node, name, &[&format!("{name}:1")]);
        assert_eq!(task["Status"]["State"], "rejected", "{name}: {task}");
        assert!(said(&task).contains("layer sha256:") && said(&task).contains(why), "{name}: {}", said(&task));
    }
    // Taken, and kept within the image: links lead to what the container sees, not to what the node has.
    let upper = ended(&[
        entry("up", Symlink, 0o777, "../../../../../../../..", b""),
        file("up/evil2"),
        file("/absolute"),
        entry("dev/", Directory, 0o755, "", b""),
        entry("dev/sda", Block, 0o600, "", b""),
        entry("dev/mem", Char, 0o600, "", b""),
        entry("tmp/", Directory, 0o1777, "", b""),
        entry("etc/.wh.group", Regular, 0o644, "", b""),
        entry("www/.wh..wh..opq", Regular, 0o644, "", b""),
        file("www/new"),
    ]);
    let layers = [system(), upper];
    let file = node.folder().join("good.tar");
    std::fs::write(&file, layout("kept:1", &layers, &config(&layers, &settings()))).expect("the folder is ours");
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    let script = "cat /evil2 /absolute; ls /www; test -e /etc/group || echo no group; cat /dev/sda >/dev/null 2>&1 || echo no disk";
    let task = end_of(&node, "kept", &["kept:1", "sh", "-c", script]);
    assert_eq!(task["Status"]["State"], "complete", "{task}");
    let logs = node.wsw(&["service", "logs", "--raw", "kept"]).ok();
    assert_eq!(logs, "evilevilnew\nno group\nno disk\n");
    assert_eq!(std::fs::read_dir(&outside).expect("it is there").count(), 1, "nothing of it is on the node");
    assert!(!std::path::Path::new("/evil2").exists() && !std::path::Path::new("/absolute").exists());
    assert!(contained(node.data_root()).is_empty());
}

#[test]
fn layers_that_are_not_what_their_image_says_are_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let node = Node::swarm();
    let layers = [system()];
    let mut wrong = config(&layers, &settings());
    wrong["rootfs"]["diff_ids"] = json!([format!("sha256:{}", "0".repeat(64))]);
    load(&node, "wrong:1", &layers, &wrong);
    let task = end_of(&node, "wrong", &["wrong:1"]);
    assert!(said(&task).contains("it unpacks to sha256:") && said(&task).contains("the image's configuration says sha256:0000"), "{}", said(&task));
    let mut missing = config(&layers, &settings());
    missing["rootfs"]["diff_ids"] = json!([]);
    load(&node, "missing:1", &layers, &missing);
    assert!(said(&end_of(&node, "missing", &["missing:1"])).contains("0 diff ids for 1 layers"));
    let mut other = config(&layers, &settings());
    other["architecture"] = json!("mips64le");
    load(&node, "other:1", &layers, &other);
    node.wsw(&["service", "create", "-d", "--no-resolve-image", "--restart-condition", "none", "--name", "other", "other:1"]).ok();
    let task = node.wait_task("other", "rejected");
    assert!(said(&task).contains("image other:1 is a Linux image (linux/mips64le); this node is linux/"), "{}", said(&task));
    let left = std::fs::read_dir(node.data_root().join("images/layers")).expect("it is there").count();
    assert_eq!(left, 0, "nothing half unpacked stays");
}

#[test]
fn processes_that_cannot_be_run_say_so_in_dockers_words() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let node = Node::swarm();
    let layers = [system()];
    load(&node, "box:1", &layers, &config(&layers, &settings()));
    load(&node, "silent:1", &layers, &config(&layers, &json!({})));
    for (service, arguments, state, code, words) in [
        ("nosuch", &["box:1", "nosuch"][..], "failed", Some(127), "exec: \"nosuch\": executable file not found in $PATH"),
        ("path", &["box:1", "/no/such"], "failed", Some(127), "no such file or directory"),
        ("text", &["box:1", "/etc/passwd"], "failed", Some(126), "exec: \"/etc/passwd\": permission denied"),
        ("user", &["--user", "nobody9", "box:1"], "rejected", None, "unable to find user nobody9: no matching entries in passwd file"),
        ("group", &["--user", "web:nope", "box:1"], "rejected", None, "unable to find group nope: no matching entries in group file"),
        ("bind", &["--mount", "type=bind,source=/no/such,target=/x", "box:1"], "rejected", None, "bind source path does not exist: /no/such"),
        ("silent", &["silent:1"], "rejected", None, "no command specified"),
        ("runtime", &["--container-label", "wsw.runtime=/no/shim", "box:1"], "rejected", None, "runtime /no/shim is not on this node"),
        ("code", &["box:1", "sh", "-c", "exit 3"], "failed", Some(3), "task: non-zero exit (3)"),
        ("fine", &["box:1", "true"], "complete", Some(0), ""),
        ("memory", &["--limit-memory", "8m", "box:1", "sh", "-c", "x=x; while true; do x=$x$x; done"], "failed", Some(137), "out of memory"),
    ] {
        let task = end_of(&node, service, arguments);
        assert_eq!((task["Status"]["State"].as_str(), said(&task).contains(words)), (Some(state), true), "{service}: {task}");
        if let Some(code) = code {
            assert_eq!(task["Status"]["ContainerStatus"]["ExitCode"].as_i64().unwrap_or(0), code, "{service}: {task}");
        }
    }
    assert!(contained(node.data_root()).is_empty());
}
