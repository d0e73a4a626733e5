//! Archives that are broken, or made to break something, through the clients and a real daemon. Each is refused with words that name what is wrong,
//! leaves the store byte by byte as it was, costs the daemon little memory, and the next good one loads and runs.

use crate::harness::archive::{ARTIFACT_CONFIG, LAYER, Layout, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, WASM, entry, file, gzip, saved, tar_of, zstd_bomb};
use crate::harness::{self, Node, digest, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tar::EntryType;

/// What is wrong, the archive, and the words that say so.
type Row = (&'static str, Vec<u8>, &'static str);

/// The daemon's peak of memory over all of it: a debug build begins with some 40 MiB, the largest document that is read has four.
const MEMORY: u64 = 320 << 20;

fn module() -> Vec<u8> {
    wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#).expect("it is WAT")
}

/// Every file of the store, with its size, and the index as it stands.
fn store(node: &Node) -> (BTreeMap<String, u64>, Vec<u8>) {
    let images = node.data_root().join("images");
    let mut files = BTreeMap::new();
    for folder in ["", "blobs/sha256", "compiled", "tmp", "downloads"] {
        for entry in std::fs::read_dir(images.join(folder)).expect("it is the store").flatten() {
            let data = entry.metadata().expect("nothing changes now");
            files.insert(format!("{folder}/{}", entry.file_name().to_string_lossy()), if data.is_dir() { 0 } else { data.len() });
        }
    }
    (files, std::fs::read(images.join("index.json")).expect("it has one"))
}

/// A node whose store has one image, `kept`.
fn node() -> Node {
    let node = Node::swarm();
    let file = node.folder().join("kept.tar");
    std::fs::write(&file, Layout::artifact("kept:1", &module()).tar()).expect("the folder is ours");
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok();
    node
}

/// Runs a table through all clients, and looks at the store and the daemon.
fn refused(rows: Vec<Row>) {
    let mut node = node();
    let (before, file) = (store(&node), node.folder().join("bad.tar"));
    let path = file.to_string_lossy().into_owned();
    let docker = harness::docker_clients();
    for (name, archive, words) in rows {
        std::fs::write(&file, archive).expect("the folder is ours");
        let ours = node.wsw(&["load", "-i", &path]);
        assert_eq!(ours.code, 1, "{name}: {ours}");
        assert!(ours.err.contains(words), "{name}: {words:?} is not said: {ours}");
        let theirs = run(&mut node.client(&docker[0], &["load", "-i", &path]));
        assert_eq!((theirs.code, theirs.out.as_str(), theirs.err.as_str()), (1, ours.out.as_str(), ours.err.as_str()), "{name}: docker says otherwise");
        assert!(store(&node) == before, "{name}: the store changed: {:?}", store(&node).0);
    }
    goes_on(&mut node);
}

/// The daemon is well, and the image that was there runs, also after a restart.
fn goes_on(node: &mut Node) {
    let peak = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("the daemon runs");
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()).expect("the kernel tells it");
    assert!(peak << 10 < MEMORY, "the daemon took {} MiB", peak >> 10);
    assert!(!node.log().contains("panicked"), "{}", node.log());
    node.kill();
    node.restart();
    node.wsw(&["service", "create", "-d", "--name", "kept", "--restart-condition", "none", "kept:1"]).ok();
    node.wait_task("kept", "complete");
}

#[test]
fn what_is_no_archive() {
    let good = Layout::artifact("app:1", &module()).tar();
    let index = |index: &str| tar_of(&[file("index.json", index.as_bytes())]);
    refused(vec![
        ("nothing", vec![], "no files"),
        ("text", b"hello".to_vec(), "archive: "),
        ("zeros", vec![0; 1 << 16], "no files"),
        ("letters", vec![b'x'; 4096], "archive: "),
        ("text in gzip", gzip(b"hello"), "archive: "),
        ("half of a gzip", gzip(&good)[..100].to_vec(), "archive: "),
        ("gzip with a spoilt end", [&gzip(&good)[..200], &[0xff; 200]].concat(), "archive: "),
        ("a zstd that is none", [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0xff; 100]].concat(), "archive: "),
        ("another file", tar_of(&[file("x", b"x")]), "neither index.json"),
        ("an index that is no JSON", index("{"), "index.json: "),
        ("an index of nothing", index(r#"{"schemaVersion":2,"manifests":[]}"#), "lists no image"),
        ("an index that is a list", index("[]"), "index.json: "),
        ("deep JSON", index(&"[".repeat(1_000_000)), "index.json: "),
        ("deep JSON where nobody looks", index(&format!("{{\"x\":{}", "[".repeat(1_000_000))), "index.json: "),
        ("an index of an OCI layout that is too large", index(&format!("{{\"x\":\"{}\"}}", "x".repeat(5 << 20))), "index.json is larger than 4 MiB"),
    ]);
}

#[test]
fn names_and_entries() {
    let special = |kind, link| tar_of(&[entry(b"manifest.json", kind, link, 0, b"")]);
    let named = |name: &str| tar_of(&[file(name, b"x")]);
    refused(vec![
        ("up", named("../x"), "\"../x\" leads out of the archive"),
        ("down and up", named("a/../../x"), "leads out of the archive"),
        ("absolute", named("/etc/x"), "\"/etc/x\" has an absolute path"),
        ("a link that leads out", special(EntryType::Symlink, "../../etc/passwd"), "leads out of the archive"),
        ("an absolute link", special(EntryType::Symlink, "/etc/passwd"), "leads out of the archive"),
        ("a link in a circle", special(EntryType::Symlink, "manifest.json"), "leads in a circle"),
        ("a hard link that leads out", special(EntryType::Link, "../etc/passwd"), "leads out of the archive"),
        ("an absolute hard link", special(EntryType::Link, "/etc/passwd"), "leads out of the archive"),
        ("a device of bytes", special(EntryType::Char, ""), "\"manifest.json\" is of a type ('3')"),
        ("a device of blocks", special(EntryType::Block, ""), "is of a type ('4')"),
        ("a pipe", special(EntryType::Fifo, ""), "is of a type ('6')"),
        ("a sparse file", special(EntryType::GNUSparse, ""), "is of a type ('S')"),
        ("a file twice", tar_of(&[file("index.json", b"{}"), file("index.json", b"{}")]), "\"index.json\" appears twice"),
        ("a name that is no text", tar_of(&[entry(b"\xff\xfe", EntryType::Regular, "", 0, b"")]), "is not UTF-8"),
        ("a name without an end", tar_of(&[entry(b"././@LongLink", EntryType::GNULongName, "", 70_000, &[b'a'; 70_000])]), "larger than 64 KiB"),
        ("attributes without an end", tar_of(&[entry(b"x", EntryType::XHeader, "", 1 << 40, b"")]), "larger than 64 KiB"),
        ("attributes that are none", tar_of(&[entry(b"x", EntryType::XHeader, "", 4, b"abcd")]), "archive: "),
        ("the largest size of all", tar_of(&[entry(b"x", EntryType::Regular, "", u64::MAX >> 1, b"x")]), "archive: "),
        ("a size of 8 GiB", tar_of(&[entry(b"x", EntryType::Regular, "", 8 << 30, b"x")]), "ends in the middle"),
        // The answer comes long before the client has sent all.
        ("a bad name before much else", [file("../x", b"x"), vec![0; 64 << 20]].concat(), "leads out of the archive"),
    ]);
}

#[test]
fn bombs() {
    let folder = |at: usize| entry(format!("d{at}").as_bytes(), EntryType::Directory, "", 0, b"");
    // Ten thousand entries in one piece, a hundred pieces: a million, in a few megabytes.
    let piece = gzip(&(0..10_000).flat_map(folder).collect::<Vec<_>>());
    let million = piece.repeat(100);
    let zeros = gzip(&vec![0; 1 << 20]).repeat(1_000);
    let start = entry(b"x", EntryType::Regular, "", 7 << 30, b"");
    // A whole image whose one layer is the bomb.
    let layer = |content: &[u8]| {
        let mut layout = Layout::default();
        let config = json!({"architecture": "wasm", "os": "wasi", "config": {"Entrypoint": ["/app.wasm"]}});
        let descriptor = layout.manifest((OCI_CONFIG, &config), &[(LAYER, content)]);
        layout.name(descriptor, "bomb:1");
        layout.tar()
    };
    let descriptor = json!({"mediaType": OCI_MANIFEST, "digest": digest(b"x"), "size": 1});
    let index = |count: usize| {
        let index = json!({"schemaVersion": 2, "manifests": vec![descriptor.clone(); count]});
        tar_of(&[file("index.json", index.to_string().as_bytes())])
    };
    let layers = |count: usize| {
        let mut layout = Layout::default();
        let layers = vec![(WASM, &b"\0asm"[..]); count];
        let descriptor = layout.manifest((ARTIFACT_CONFIG, &json!({})), &layers);
        layout.name(descriptor, "many:1");
        layout.tar()
    };
    let row = |at: usize| json!({"Config": "c", "RepoTags": [format!("app:{at}")], "Layers": []});
    let images: Value = (0..65).map(row).collect();
    let tags: Value = (0..2_000).map(|at| json!(format!("app:{at}"))).collect();
    refused(vec![
        ("a gzip without end", [gzip(&start), zeros.clone()].concat(), "more than 200 times its size"),
        ("a zstd without end", zstd_bomb(&start, 1_024), "more than 200 times its size"),
        ("a layer of gzip without end", layer(&[gzip(&start), zeros].concat()), "more than 200 times its size"),
        ("a layer of zstd without end", layer(&zstd_bomb(&start, 1_024)), "more than 200 times its size"),
        ("a million entries", million.clone(), "more than 10000 entries"),
        ("a layer of a million entries", layer(&million), "more than 100000 entries"),
        ("an index of 100,000 manifests", index(100_000), "index.json is larger than 4 MiB"),
        ("an index of 20,000 manifests", index(20_000), "index.json: manifests: there are 20000; at most 1000"),
        ("129 layers", layers(129), "layers: there are 129; at most 128"),
        ("20,000 layers", layers(20_000), "layers: there are 20000; at most 128"),
        ("indexes in indexes", nested(6), "more than 3 levels deep"),
        ("65 images of docker save", saved(&images, &[("c", b"{}")]), "manifest.json: images: there are 65; at most 64"),
        (
            "an image of many layers of docker save",
            saved(&json!([{"Config": "c", "Layers": vec!["l"; 10_000]}]), &[("c", b"{}")]),
            "manifest.json: Layers: there are 10000",
        ),
        ("an image of 2,000 names", saved(&json!([{"Config": "c", "RepoTags": tags, "Layers": []}]), &[("c", b"{}")]), "names: there are 2000; at most 1000"),
    ]);
}

/// An index that leads to an index, so many times.
fn nested(depth: usize) -> Vec<u8> {
    let mut layout = Layout::artifact("deep:1", &module());
    let mut inner = layout.manifests.pop().expect("it has one");
    for _ in 0..depth {
        inner = layout.blob(OCI_INDEX, json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [inner]}).to_string().as_bytes());
    }
    layout.manifests.push(inner);
    layout.tar()
}

#[test]
fn blobs_and_documents() {
    let good = Layout::artifact("app:1", &module());
    let spoilt = |change: &dyn Fn(&mut Layout)| {
        let mut layout = good.clone();
        change(&mut layout);
        layout.tar()
    };
    // In the order in which they were made: layer after configuration, the manifest last.
    let without = |at: usize| spoilt(&|layout| drop(layout.files.remove(at)));
    let descriptor = |key: &str, value: Value| spoilt(&|layout| layout.manifests[0][key] = value.clone());
    // A manifest as given, under the name `app:1`.
    let manifest = |document: Value| {
        let mut layout = good.clone();
        layout.manifests.clear();
        let found = layout.blob(OCI_MANIFEST, document.to_string().as_bytes());
        layout.name(found, "app:1");
        layout.tar()
    };
    let (config, layer) = (good.clone().blob(ARTIFACT_CONFIG, br#"{"architecture":"wasm","os":"wasip1"}"#), good.clone().blob(WASM, &module()));
    let of = |config: &Value, layers: Value| manifest(json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}));
    let with = |value: &Value, key: &str, to: Value| {
        let mut value = value.clone();
        value[key] = to;
        value
    };
    refused(vec![
        ("another content", spoilt(&|layout| layout.files[1].1[10] ^= 1), "does not match its digest"),
        ("without its manifest", without(2), "archive: manifest sha256:"),
        ("without its configuration", without(0), "archive: configuration sha256:"),
        ("without its layer", without(1), "archive: layer sha256:"),
        ("a size too small", descriptor("size", json!(1)), "its descriptor says 1"),
        ("a size too large", descriptor("size", json!(1_u64 << 60)), "its descriptor says 1152921504606846976"),
        ("a size below nothing", descriptor("size", json!(-1)), "index.json: "),
        ("a digest that is none", descriptor("digest", json!("sha256:xyz")), "index.json: "),
        ("a digest of another kind", descriptor("digest", json!(format!("md5:{}", "0".repeat(32)))), "archive: "),
        ("a name that is none", descriptor("annotations", json!({"io.containerd.image.name": "UPPER:1"})), "index.json: annotation: invalid reference format"),
        ("a name with a digest", descriptor("annotations", json!({"io.containerd.image.name": format!("a@{}", digest(b"x"))})), "invalid tag"),
        (
            "a manifest of another kind",
            manifest(json!({"schemaVersion": 1, "mediaType": "text/plain", "config": config, "layers": []})),
            "of type text/plain are not",
        ),
        ("a manifest that is none", manifest(json!({"schemaVersion": 2})), "archive: manifest sha256:"),
        ("a manifest that is a number", manifest(json!(7)), "archive: manifest sha256:"),
        ("a layer of another size", of(&config, json!([with(&layer, "size", json!(5))])), "its descriptor says 5"),
        ("a layer that is not there", of(&config, json!([with(&layer, "digest", json!(digest(b"x")))])), "is missing"),
        ("a layer of another kind", of(&config, json!([with(&layer, "mediaType", json!("text/plain"))])), "1 layers, 0 of them Wasm"),
        ("two modules", of(&config, json!([layer, layer])), "2 layers, 2 of them Wasm"),
        ("no layer", of(&config, json!([])), "0 layers, 0 of them Wasm"),
        ("a configuration that is a layer", of(&layer, json!([layer])), "archive: configuration sha256:"),
        ("a module that is text", Layout::artifact("app:1", b"hello").tar(), "image app:1: the module is not Wasm"),
        ("a module that is native", Layout::artifact("app:1", b"\x7fELF\x02\x01").tar(), "image app:1: the module is a native or precompiled (ELF) file"),
        ("a module that is empty", Layout::artifact("app:1", b"").tar(), "image app:1: the module is empty"),
        ("a module that is cut off", Layout::artifact("app:1", &module()[..20]).tar(), "image app:1: "),
    ]);
}

#[test]
fn docker_save_with_odd_names() {
    let config = json!({"architecture": "wasm", "os": "wasi", "config": {"Entrypoint": ["/app.wasm"]}}).to_string();
    let layer = tar_of(&[file("app.wasm", &module())]);
    let row = |row: Value| saved(&json!([row]), &[("c.json", config.as_bytes()), ("l/layer.tar", &layer)]);
    let tagged = |tag: &str| row(json!({"Config": "c.json", "RepoTags": [tag], "Layers": ["l/layer.tar"]}));
    let documents = |manifest: Value| saved(&manifest, &[("c.json", config.as_bytes())]);
    let layered =
        |layer: Vec<u8>| saved(&json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l"]}]), &[("c.json", config.as_bytes()), ("l", &layer)]);
    refused(vec![
        ("large letters", tagged("UPPER:1"), "manifest.json: RepoTags: invalid reference format"),
        ("no name", tagged(""), "manifest.json: RepoTags: invalid reference format"),
        ("a name with a space", tagged("a b:1"), "manifest.json: RepoTags: "),
        ("a name that leads up", tagged("../x:1"), "manifest.json: RepoTags: "),
        ("two colons", tagged("a:b:c"), "manifest.json: RepoTags: "),
        ("a digest", tagged(&format!("app@{}", digest(b"x"))), "manifest.json: RepoTags: invalid tag"),
        ("a long name", tagged(&"a".repeat(5_000)), "manifest.json: RepoTags: "),
        ("no list", documents(json!({"Config": "c.json"})), "manifest.json: "),
        ("an empty list", documents(json!([])), "neither index.json"),
        ("null", documents(Value::Null), "manifest.json: "),
        ("no configuration", documents(json!([{"RepoTags": [], "Layers": []}])), "manifest.json: missing field `Config`"),
        ("a configuration that leads out", documents(json!([{"Config": "../c.json", "Layers": []}])), "leads out of the archive"),
        ("a configuration of the machine", documents(json!([{"Config": "/etc/passwd", "Layers": []}])), "has an absolute path"),
        ("a configuration that is missing", documents(json!([{"Config": "d.json", "Layers": []}])), "\"d.json\", named in manifest.json, is missing"),
        ("a layer that is missing", documents(json!([{"Config": "c.json", "Layers": ["l"]}])), "\"l\", named in manifest.json, is missing"),
        ("a configuration that is no JSON", saved(&json!([{"Config": "c", "Layers": []}]), &[("c", b"<html>")]), "archive: configuration sha256:"),
        (
            "an image without its program",
            documents(json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": []}])),
            "image app:1: its entry point /app.wasm is in none of its layers",
        ),
        ("a layer that leads out", layered(tar_of(&[file("../app.wasm", &module())])), "image app:1: layer sha256:"),
        (
            "a layer with a hard link that leads out",
            layered(tar_of(&[entry(b"app.wasm", EntryType::Link, "../../etc/passwd", 0, b"")])),
            "leads out of the archive",
        ),
        (
            "a layer with a link to the machine",
            layered(tar_of(&[entry(b"app.wasm", EntryType::Symlink, "/etc/passwd", 0, b"")])),
            "/etc/passwd is in none of its layers",
        ),
        ("a program that is a device", layered(tar_of(&[entry(b"app.wasm", EntryType::Char, "", 0, b"")])), "/app.wasm is a folder"),
        ("a layer that is no tar", layered(b"hello".to_vec()), "image app:1: layer sha256:"),
        ("a layer that is cut off", layered(layer[..700].to_vec()), "ends in the middle of an entry"),
    ]);
}

#[test]
fn cut_off_anywhere() {
    let mut node = node();
    let before = store(&node);
    let (plain, packed) = (Layout::artifact("app:1", &module()).tar(), gzip(&Layout::artifact("app:1", &module()).tar()));
    // The last file of the plain one is not needed, nor are the zeros after it; both are some ten bytes when packed.
    for (archive, needed) in [(&plain, plain.len() - 1024 - 1024), (&packed, packed.len() - 80)] {
        for length in (0..needed).step_by(needed / 60 + 1).chain([1, 511, 512, 513, needed - 1]).filter(|length| *length < needed) {
            let answer = node.api("POST", "/images/load", &archive[..length]);
            assert_eq!(answer.status, 400, "{length} of {}: {answer:?}", archive.len());
            assert!(answer.message().starts_with("archive: "), "{length}: {answer:?}");
            assert!(store(&node) == before, "{length}: the store changed");
        }
    }
    let whole = node.api("POST", "/images/load", &plain);
    assert!(whole.status == 200 && whole.body.contains("Loaded image: app:1"), "{whole:?}");
    node.wsw(&["rmi", "app:1"]).ok();
    assert_eq!(node.wsw(&["image", "ls", "-q"]).ok().lines().count(), 1);
    goes_on(&mut node);
}

/// A client that goes away in the middle leaves nothing, and takes nobody's place.
#[test]
fn clients_that_go_away() {
    use std::io::Write;
    let mut node = node();
    let before = store(&node);
    let archive = Layout::artifact("app:1", &module()).tar();
    for _ in 0..12 {
        let mut stream = std::os::unix::net::UnixStream::connect(node.socket()).expect("the daemon listens");
        let head = format!("POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n", archive.len());
        stream.write_all(head.as_bytes()).expect("the daemon reads");
        stream.write_all(&archive[..archive.len() / 2]).expect("the daemon reads");
    }
    harness::until("the store to be as it was", || {
        let now = store(&node);
        if now == before { Ok(()) } else { Err(format!("{:?}", now.0)) }
    });
    let file = node.folder().join("app.tar");
    std::fs::write(&file, archive).expect("the folder is ours");
    run(&mut node.client(Path::new(env!("CARGO_BIN_EXE_wsw")), &["load", "-i", &file.to_string_lossy()])).ok();
    goes_on(&mut node);
}
