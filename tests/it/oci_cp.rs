//! `docker cp` with containers, with every client: docker's rules of source and destination, owners, streams, and what hostile containers gain by it (nothing).

use crate::harness::containers::infinite;
use crate::harness::{self, Follow, Node, Run, clients, is_root, run, run_with_input};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// A node with one container of the article's image, and its id.
fn node_with(arguments: &[&str]) -> (Node, String) {
    let node = Node::swarm();
    let file = infinite(node.folder());
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node.wsw(&[&["service", "create", "--name", "box", "--restart-delay", "0s"], arguments, &["eon01/infinite"]].concat()).ok();
    let id = node.wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned();
    (node, id)
}

fn ours() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_wsw"))
}

fn sh(node: &Node, id: &str, script: &str) -> String {
    node.wsw(&["exec", "-u", "0", id, "busybox", "sh", "-c", script]).ok()
}

/// What a folder holds, by path: kind, mode, and content or target.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).expect("it is a folder").flatten() {
            let (path, status) = (entry.path(), entry.path().symlink_metadata().expect("it is there"));
            let kind = status.file_type();
            let text = if kind.is_dir() {
                left.push(path.clone());
                format!("folder {:o}", status.mode() & 0o7777)
            } else if kind.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).expect("a link").display())
            } else if kind.is_file() {
                format!("{:o} {} names: {}", status.mode() & 0o7777, status.nlink(), String::from_utf8_lossy(&std::fs::read(&path).expect("a file")))
            } else {
                format!("special {:o}", status.mode())
            };
            found.insert(path.strip_prefix(folder).expect("it is below").to_string_lossy().into_owned(), text);
        }
    }
    found
}

/// The same words but for the program's name and the folder that it worked in. Docker's archive code logs what it meets when its reader is gone; that is not for the user.
fn alike(ended: &Run, folder: &Path) -> (i32, String, String) {
    let words = |text: &str| text.split_inclusive('\n').filter(|line| !line.starts_with("time=\"")).collect::<String>();
    let plain = |text: &str| words(text).replace(&*folder.to_string_lossy(), "HERE").replace("docker", "wsw");
    (ended.code, plain(&ended.out), plain(&ended.err))
}

/// Files of all kinds, in the container.
const FILES: &str = "mkdir -p /data/sub/deep /data/empty && cd /data && echo one > f && ln f sub/again && echo g > sub/g && chmod 4751 sub/g && ln -s f link \
    && ln -s sub flink && ln -s /data/sub/g abs && ln -s nowhere broken && busybox mkfifo -m 640 pipe && echo x > \"sub/deep/$(busybox printf %0150d 7)\" \
    && echo y > 'sub/ä b' && chmod 1777 empty";

/// Out of the container: source, what stands at `to` before, destination.
const OUT: &[(&str, &str, &str)] = &[
    ("/data/f", "", "to"),
    ("/data/f", "", "to/"),
    ("/data/f", "", "no/to"),
    ("/data/f", "file", "to"),
    ("/data/f", "file", "to/"),
    ("/data/f", "folder", "to"),
    ("/data/f", "link to folder", "to"),
    ("/data/f", "link to nothing", "to"),
    ("/data/f", "folder with folder f", "to"),
    ("data/f", "", "to"),
    ("/data/../../data/./f", "", "to"),
    ("/data/f/", "", "to"),
    ("/data/nope", "", "to"),
    ("/nope/f", "", "to"),
    ("/data", "", "to"),
    ("/data", "folder", "to"),
    ("/data", "file", "to"),
    ("/data/", "folder", "to/"),
    ("/data/.", "folder", "to"),
    ("/data/.", "", "to"),
    ("/data/sub/deep", "", "to"),
    ("/data/link", "", "to"),
    ("/data/link", "folder", "to"),
    ("/data/flink", "folder", "to"),
    ("/data/flink/", "folder", "to"),
    ("/data/flink/.", "folder", "to"),
    ("/data/broken", "folder", "to"),
    ("/data/abs", "", "to"),
    ("/data/pipe", "", "to"),
    ("-L /data/link", "", "to"),
    ("-L /data/link", "folder", "to"),
    ("-L /data/abs", "folder", "to"),
    ("-L /data/flink", "folder", "to"),
    ("-L /data/flink/.", "folder", "to"),
    ("-L /data/broken", "folder", "to"),
    ("-a /data/sub", "folder", "to"),
];

fn prepare(folder: &Path, before: &str) {
    let to = folder.join("to");
    std::fs::create_dir_all(folder).expect("the folder is ours");
    match before {
        "" => Ok(()),
        "file" => std::fs::write(&to, "before"),
        "folder" => std::fs::create_dir(&to).and_then(|()| std::fs::write(to.join("kept"), "before")),
        "link to folder" => std::fs::create_dir(folder.join("other")).and_then(|()| symlink("other", &to)),
        "link to nothing" => symlink("other", &to),
        "folder with folder f" => std::fs::create_dir_all(to.join("f")),
        "folder with file data" => std::fs::create_dir(&to).and_then(|()| std::fs::write(to.join("data"), "before")),
        other => panic!("{other}"),
    }
    .expect("the folder is ours");
}

/// Runs the case with a client in a folder of its own; what it said, and what is there then.
fn out_with(node: &Node, id: &str, client: &Path, at: &Path, case: (&str, &str, &str)) -> ((i32, String, String), BTreeMap<String, String>) {
    let (source, before, to) = case;
    prepare(at, before);
    let mut words = vec!["cp".to_owned()];
    let path = match source.split_once(' ') {
        Some((flag, path)) => {
            words.push(flag.to_owned());
            path
        }
        None => source,
    };
    words.extend([format!("{id}:{path}"), to.to_owned()]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = run(node.client(client, &words).current_dir(at));
    (alike(&ended, at), tree(at))
}

#[test]
fn out_of_a_container_by_dockers_rules() {
    if !is_root() {
        return;
    }
    let (node, id) = node_with(&[]);
    sh(&node, &id, FILES);
    let newest = harness::newest_docker();
    let mut wrong = Vec::new();
    for (number, case) in OUT.iter().enumerate() {
        let at = |who: &str| node.folder().join(format!("{who}{number}"));
        let theirs = out_with(&node, &id, &newest, &at("d"), *case);
        let own = out_with(&node, &id, &ours(), &at("w"), *case);
        if theirs != own {
            wrong.push(format!("{case:?}\n  docker {theirs:#?}\n  wsw {own:#?}"));
        }
        // The older clients say it in other words at times, and do the same.
        for (other, client) in harness::docker_clients().iter().enumerate().filter(|(_, client)| **client != newest) {
            let old = out_with(&node, &id, client, &at(&format!("o{other}-")), *case);
            if (old.0.0, &old.1) != (own.0.0, &own.1) {
                wrong.push(format!("{case:?}\n  {} {old:#?}\n  wsw {own:#?}", client.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), OUT.len(), wrong.join("\n"));
    // The table says what docker does; this is what that is.
    let whole = tree(&node.folder().join("w14"));
    let wanted = [
        ("to/f", "644 2 names: one\n"),
        ("to/sub/again", "644 2 names: one\n"),
        ("to/sub/g", "4751 1 names: g\n"),
        ("to/link", "-> f"),
        ("to/abs", "-> /data/sub/g"),
        ("to/pipe", "special 10640"),
        ("to/empty", "folder 1777"),
        ("to/sub/ä b", "644 1 names: y\n"),
    ];
    for (path, text) in wanted {
        assert_eq!(whole.get(path).map(String::as_str), Some(text), "{path} in {whole:#?}");
    }
    assert!(whole.keys().any(|path| path.ends_with(&format!("deep/{:0150}", 7))));
}

/// Into the container: source, what is done at `to` (a new folder) before, destination.
const IN: &[(&str, &str, &str)] = &[
    ("f", "", "/to"),
    ("f", "", "/to/"),
    ("f", "", "/no/to"),
    ("f", "echo before > to", "/to"),
    ("f", "echo before > to", "/to/"),
    ("f", "mkdir to", "/to"),
    ("f", "mkdir to", "/to/."),
    ("f", "mkdir other; ln -s other to", "/to"),
    ("f", "ln -s other to", "/to"),
    ("f", "mkdir -p to/f", "/to"),
    ("f", "busybox mkfifo to", "/to"),
    ("f", "busybox mknod to c 1 3", "/to"),
    ("nope", "", "/to"),
    ("no/nope", "", "/to"),
    ("f/", "", "/to"),
    ("d", "", "/to"),
    ("d", "mkdir to", "/to"),
    ("d", "echo before > to", "/to"),
    ("d", "mkdir to; echo before > to/d", "/to"),
    ("d/", "mkdir to", "/to"),
    ("d/.", "mkdir to; echo kept > to/kept", "/to"),
    ("d/.", "", "/to"),
    ("link", "mkdir to", "/to"),
    ("-L link", "mkdir to", "/to"),
    ("-L link", "", "/to"),
    ("-L dlink", "mkdir to", "/to"),
    ("dlink/.", "mkdir to", "/to"),
    ("dlink/", "mkdir to", "/to"),
    ("-a f", "mkdir to", "/to"),
];

/// How a folder of the container is shown: all that matters of each entry.
const LIST: &str = "cd $1 && busybox find . | busybox sort | while read -r p; do busybox stat -c '%n %A %s %u:%g' \"$p\"; test -L \"$p\" && busybox readlink \"$p\"; \
    test -f \"$p\" && cat \"$p\"; done; true";

fn in_with(node: &Node, id: &str, client: &Path, name: &str, local: &Path, case: (&str, &str, &str)) -> ((i32, String, String), String) {
    let (source, before, to) = case;
    let base = format!("/t/{name}");
    sh(node, id, &format!("mkdir -p {base} && cd {base} && {{ {}; }}", if before.is_empty() { "true" } else { before }));
    let (flag, source) = source.split_once(' ').map_or((None, source), |(flag, path)| (Some(flag), path));
    let target = format!("{id}:{base}{to}");
    let words: Vec<&str> = ["cp"].into_iter().chain(flag).chain([source, target.as_str()]).collect();
    let ended = run(node.client(client, &words).current_dir(local));
    let (code, out, err) = alike(&ended, local);
    let listed = node.wsw(&["exec", "-u", "0", id, "busybox", "sh", "-c", LIST, "sh", &base]).ok();
    ((code, out.replace(&base, "BASE"), err.replace(&base, "BASE")), listed)
}

#[test]
fn into_a_container_by_dockers_rules() {
    if !is_root() {
        return;
    }
    let (node, id) = node_with(&[]);
    let local = node.folder().join("from");
    std::fs::create_dir_all(local.join("d/e")).expect("the folder is ours");
    std::fs::write(local.join("f"), "file").expect("the folder is ours");
    std::fs::write(local.join("d/e/g"), "g").expect("the folder is ours");
    std::fs::write(local.join("d/long").with_extension("x".repeat(120)), "long").expect("the folder is ours");
    symlink("f", local.join("link")).and_then(|()| symlink("d", local.join("dlink"))).expect("the folder is ours");
    rustix::fs::chown(local.join("d/e/g"), Some(rustix::fs::Uid::from_raw(7)), Some(rustix::fs::Gid::from_raw(8))).expect("we are root");
    let newest = harness::newest_docker();
    let mut wrong = Vec::new();
    for (number, case) in IN.iter().enumerate() {
        let theirs = in_with(&node, &id, &newest, &format!("d{number}"), &local, *case);
        let own = in_with(&node, &id, &ours(), &format!("w{number}"), &local, *case);
        if theirs != own {
            wrong.push(format!("{case:?}\n  docker {theirs:#?}\n  wsw {own:#?}"));
        }
        for (other, client) in harness::docker_clients().iter().enumerate().filter(|(_, client)| **client != newest) {
            let old = in_with(&node, &id, client, &format!("o{other}-{number}"), &local, *case);
            if (old.0.0, &old.1) != (own.0.0, &own.1) {
                wrong.push(format!("{case:?}\n  {} {old:#?}\n  wsw {own:#?}", client.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), IN.len(), wrong.join("\n"));
    let listed = sh(&node, &id, "cd /t/w16/to && cat d/e/g && busybox stat -c %u:%g d/e/g");
    assert_eq!(listed, "g7:8\n", "owners are those of the source, as Docker keeps them");
}

#[test]
fn archives_go_through_pipes_and_words_are_the_same() {
    if !is_root() {
        return;
    }
    let (node, id) = node_with(&["--user", "web"]);
    sh(&node, &id, FILES);
    let newest = harness::newest_docker();
    let events = Follow::start(&mut node.client(&ours(), &["events", "--since", "1h", "--filter", "type=container", "--format", "{{.Action}}"]));
    for (number, client) in clients().iter().enumerate() {
        let (bytes, code) = run_with_input(&mut node.client(client, &["cp", &format!("{id}:/data/sub"), "-"]), b"");
        let names: Vec<_> = tar::Archive::new(&bytes[..])
            .entries()
            .expect("a tar")
            .map(|entry| entry.expect("an entry").path().expect("a name").to_string_lossy().into_owned())
            .collect();
        assert!(code == 0 && names.iter().any(|name| name == "sub/ä b") && names.len() == 6, "{code}: {names:?}");
        sh(&node, &id, &format!("mkdir /in{number}"));
        assert_eq!(run_with_input(&mut node.client(client, &["cp", "-", &format!("{id}:/in{number}")]), &bytes).1, 0);
        // Packed as well.
        assert_eq!(run_with_input(&mut node.client(client, &["cp", "-", &format!("{id}:/in{number}")]), &crate::harness::archive::gzip(&bytes)).1, 0);
        assert_eq!(sh(&node, &id, &format!("cat /in{number}/sub/again /in{number}/sub/deep/*")), "one\nx\n");
        // With -a all is the container's user's.
        let file = node.folder().join("owned");
        std::fs::write(&file, "x").expect("the folder is ours");
        run(&mut node.client(client, &["cp", "-a", &file.to_string_lossy(), &format!("{id}:/tmp")])).ok();
        assert_eq!(sh(&node, &id, "busybox stat -c %u:%g /tmp/owned; rm /tmp/owned"), "33:34\n");
    }
    events.line("what went out", |line| line == "archive-path");
    events.line("what came in", |line| line == "extract-to-dir");
    // What is said of sizes, and refusals.
    let file = node.folder().join("owned");
    for words in [
        vec!["cp", "--quiet=false", "ID:/data/f", "one"],
        vec!["cp", "--quiet=false", "ID:/data/sub", "two"],
        vec!["cp", "--quiet=false", &*file.to_string_lossy(), "ID:/tmp/three"],
        vec!["cp", "nosuch:/x", "."],
        vec!["cp", ".", "nosuch:/x"],
        vec!["cp", "ID:/x", "ID:/y"],
        vec!["cp", "x", "y"],
        vec!["cp", "", "y"],
        vec!["cp", "x"],
        vec!["cp", "-", "ID:/data/f"],
        vec!["cp", "-", "ID:/nope"],
        vec!["cp", "ID:/data/f", "/dev/null"],
        vec!["cp", "ID:", "."],
        vec!["cp", "ID:/proc/version", "-"],
        vec!["cp", "--nosuch", "x", "y"],
    ] {
        let words: Vec<String> = words.iter().map(|word| word.replace("ID", &id)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let with = |client: &Path| alike(&run(node.client(client, &words).current_dir(folder.path())), folder.path());
        assert_eq!(with(&newest), with(&ours()), "{words:?}");
    }
}
