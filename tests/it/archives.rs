//! Archives of images in both directions: what docker has written in its two forms, and what is written here, by the rules that docker's own `load` has.

use crate::harness::archive::{LAYER, Layout, OCI_CONFIG, OCI_INDEX, entry, file, gzip, tar_of};
use crate::harness::{self, Node, digest, guest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use tar::EntryType;

fn load(node: &Node, name: &str, archive: &[u8]) -> String {
    let file = node.folder().join(name);
    std::fs::write(&file, archive).expect("the folder is ours");
    node.wsw(&["load", "-i", &file.to_string_lossy()]).ok()
}

/// A configuration "from scratch", as `docker buildx --platform wasi/wasm` writes it, with its layers as they unpack.
fn config(layers: &[&[u8]], word: &str) -> String {
    let ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let process = json!({"Entrypoint": ["/sum.wasm"], "Cmd": [word, "41"], "WorkingDir": "/"});
    json!({"architecture": "wasm", "os": "wasi", "config": process, "rootfs": {"type": "layers", "diff_ids": ids}, "created": "2026-01-01T00:00:00Z"})
        .to_string()
}

fn runs(node: &Node, image: &str, wanted: &str) {
    let name = format!("run-{}", image.replace(':', "-"));
    node.wsw(&["service", "create", "-d", "--name", &name, "--restart-condition", "none", image]).ok();
    node.wait_task(&name, "complete");
    assert_eq!(node.wsw(&["service", "logs", "--raw", &name]).ok(), wanted);
}

/// Up to version 24: a folder for each layer; a layer that is there already is a link to it.
#[test]
fn the_older_form() {
    let node = Node::swarm();
    let layer = tar_of(&[file("sum.wasm", &std::fs::read(guest("sum")).expect("it is built"))]);
    let (one, two) = (config(&[&layer], "1"), config(&[&layer], "2"));
    let (id_one, id_two) = (digest(one.as_bytes())[7..].to_owned(), digest(two.as_bytes())[7..].to_owned());
    let folder = |name: &str| entry(name.as_bytes(), EntryType::Directory, "", 0, b"");
    let row = |id: &str, tag: &str, layer: &str| json!({"Config": format!("{id}.json"), "RepoTags": [tag], "Layers": [layer]});
    let manifest = json!([row(&id_one, "old:1", "aaaa/layer.tar"), row(&id_two, "old:2", "bbbb/layer.tar")]);
    let archive = tar_of(&[
        folder("aaaa/"),
        file("aaaa/VERSION", b"1.0"),
        file("aaaa/json", b"{}"),
        file("aaaa/layer.tar", &layer),
        folder("bbbb/"),
        file("bbbb/VERSION", b"1.0"),
        file("bbbb/json", b"{}"),
        entry(b"bbbb/layer.tar", EntryType::Symlink, "../aaaa/layer.tar", 0, b""),
        file(&format!("{id_one}.json"), one.as_bytes()),
        file(&format!("{id_two}.json"), two.as_bytes()),
        file("manifest.json", manifest.to_string().as_bytes()),
        file("repositories", br#"{"old":{"1":"aaaa","2":"bbbb"}}"#),
    ]);
    assert_eq!(load(&node, "old.tar", &archive), "Loaded image: old:1\nLoaded image: old:2\n");
    runs(&node, "old:1", "42\n");
    runs(&node, "old:2", "43\n");
}

/// Since version 25: an OCI layout, with the older form's `manifest.json` beside it. Packed, as many keep it.
#[test]
fn the_newer_form() {
    let node = Node::swarm();
    let layer = tar_of(&[file("sum.wasm", &std::fs::read(guest("sum")).expect("it is built"))]);
    let config = config(&[&layer], "1");
    let mut layout = Layout::default();
    let descriptor = layout.manifest((OCI_CONFIG, &serde_json::from_str(&config).expect("it is JSON")), &[("application/vnd.oci.image.layer.v1.tar", &layer)]);
    let manifest: Value = serde_json::from_slice(&layout.files.last().expect("the manifest is the last").1).expect("it is JSON");
    let path = |digest: &Value| format!("blobs/{}", digest.as_str().expect("it is text").replacen(':', "/", 1));
    let described = &manifest["layers"][0];
    let sources: BTreeMap<String, &Value> = BTreeMap::from([(digest(&layer), described)]);
    let row = json!({
        "Config": path(&manifest["config"]["digest"]), "RepoTags": ["new:1", "localhost:5000/new:2"],
        "Layers": [path(&described["digest"])], "LayerSources": sources,
    });
    let named = |name: &str, tag: &str| {
        let mut found = descriptor.clone();
        found["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        found
    };
    let manifests = [named("docker.io/library/new:1", "1"), named("localhost:5000/new:2", "2")];
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    let folder = |name: &str| entry(name.as_bytes(), EntryType::Directory, "", 0, b"");
    let mut entries = vec![folder("blobs/"), folder("blobs/sha256/")];
    entries.extend(layout.files.iter().map(|(name, content)| file(name, content)));
    entries.push(file("index.json", index.to_string().as_bytes()));
    entries.push(file("manifest.json", json!([row]).to_string().as_bytes()));
    entries.push(file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#));
    entries.push(file("repositories", b"{}"));
    let said = load(&node, "new.tar.gz", &gzip(&tar_of(&entries)));
    assert_eq!(said, "Loaded image: new:1\nLoaded image: localhost:5000/new:2\n");
    runs(&node, "new:1", "42\n");
}

/// The files of a tar by name.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("it was written"));
    let read = |entry: std::io::Result<tar::Entry<'_, std::fs::File>>| {
        let (mut entry, mut content) = (entry.expect("it is a tar"), Vec::new());
        entry.read_to_end(&mut content).expect("it is whole");
        (entry.path().expect("it has one").display().to_string(), content)
    };
    archive.entries().expect("it is a tar").map(read).collect()
}

/// What moby's `load` asks of an archive (`image/tarexport/load.go`): a row for each image, a configuration and layers that are in it, as many layers as
/// the configuration has, each unpacking to what it says; and containerd's of an OCI layout: its version, names in annotations, blobs by digest.
fn loads_into_docker(files: &BTreeMap<String, Vec<u8>>) -> Vec<(Vec<String>, String)> {
    let document = |name: &str| serde_json::from_slice::<Value>(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(document("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
    for (name, content) in files.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        assert_eq!(*name, format!("blobs/{}", digest(content).replacen(':', "/", 1)));
    }
    let mut found = Vec::new();
    for row in document("manifest.json").as_array().expect("a list") {
        let config = row["Config"].as_str().expect("a path");
        let parsed: Value = serde_json::from_slice(&files[config]).expect("a configuration is JSON");
        let layers: Vec<&str> = row["Layers"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        // Artifacts have none: docker keeps them, and unpacks nothing.
        for (at, id) in parsed["rootfs"]["diff_ids"].as_array().into_iter().flatten().enumerate() {
            assert_eq!(parsed["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(layers.len()));
            assert_eq!(*id, json!(digest(&unpacked(&files[layers[at]]))));
        }
        let tags = row["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        found.push((tags, config.to_owned()));
    }
    let index = document("index.json");
    for manifest in index["manifests"].as_array().expect("a list") {
        let content = &files[&format!("blobs/{}", manifest["digest"].as_str().expect("a digest").replacen(':', "/", 1))];
        assert_eq!((manifest["size"].as_u64(), manifest["mediaType"].as_str().is_some()), (Some(content.len() as u64), true));
    }
    found
}

fn unpacked(layer: &[u8]) -> Vec<u8> {
    if !layer.starts_with(&[0x1f, 0x8b]) {
        return layer.to_vec();
    }
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let file = folder.path().join("l.gz");
    std::fs::write(&file, layer).expect("the folder is ours");
    std::process::Command::new("gzip").arg("-dc").arg(&file).output().expect("gzip is installed").stdout
}

#[test]
fn what_is_saved_is_what_docker_loads() {
    let node = Node::swarm();
    let layer = tar_of(&[file("sum.wasm", &std::fs::read(guest("sum")).expect("it is built"))]);
    let mut layout = Layout::default();
    let config: Value = serde_json::from_str(&config(&[&layer], "1")).expect("it is JSON");
    let descriptor = layout.manifest((OCI_CONFIG, &config), &[(LAYER, &gzip(&layer))]);
    layout.name(descriptor, "docker.io/library/scratch:1");
    load(&node, "scratch.tar", &layout.tar());
    let artifact = harness::image_tar(node.folder(), "sum", &guest("sum"));
    node.wsw(&["load", "-i", &artifact.to_string_lossy()]).ok();
    node.wsw(&["tag", "sum", "reg.example/sum:2"]).ok();
    let id = node.json("/images/scratch:1/json")["Id"].as_str().expect("it has one").to_owned();
    let path = |name: &str| node.folder().join(name);
    // Several at a time, one of them under two names; the same through a pipe and by docker's client.
    let names = ["scratch:1", "sum", "reg.example/sum:2"];
    let save = |file: &Path, names: &[&str]| node.wsw(&[&["save", "-o", &file.to_string_lossy()][..], names].concat()).ok();
    save(&path("all.tar"), &names);
    let mut found = loads_into_docker(&files(&path("all.tar")));
    found.sort();
    assert_eq!(found.iter().map(|(tags, _)| tags.clone()).collect::<Vec<_>>(), [vec!["scratch:1"], vec!["sum:latest", "reg.example/sum:2"]]);
    for docker in harness::docker_clients() {
        let file = path("docker.tar");
        harness::run(&mut node.client(&docker, &[&["save", "-o", &file.to_string_lossy()][..], &names].concat())).ok();
        assert!(std::fs::read(&file).expect("it was written") == std::fs::read(path("all.tar")).expect("it was written"), "the same bytes");
    }
    // By its id it has no name.
    save(&path("id.tar"), &[&id]);
    save(&path("short.tar"), &[&id[7..19]]);
    for archive in ["id.tar", "short.tar"] {
        let found = loads_into_docker(&files(&path(archive)));
        assert_eq!(found.iter().map(|(tags, _)| tags.len()).collect::<Vec<_>>(), [0]);
    }
    node.wsw(&["image", "prune", "-a", "-f"]).ok();
    let said = node.wsw(&["load", "-i", &path("id.tar").to_string_lossy()]).ok();
    assert_eq!(said, format!("Loaded image ID: {id}\n"));
    node.wsw(&["load", "-i", &path("all.tar").to_string_lossy()]).ok();
    assert_eq!(node.json("/images/scratch:1/json")["Id"], json!(id));
    runs(&node, "scratch:1", "42\n");
    // What cannot be written is told before the daemon is asked, and leaves nothing.
    let said = node.wsw(&["save", "-o", &path("none/x.tar").to_string_lossy(), "sum"]).failed();
    assert!(said.contains("invalid output path: directory"), "{said}");
    let said = node.wsw(&["save", "-o", &path("x.tar").to_string_lossy(), "sum", "nosuch"]).failed();
    assert!(said.contains("nosuch") && !path("x.tar").exists(), "{said}");
}
