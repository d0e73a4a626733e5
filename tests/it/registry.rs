//! Images from a real registry: pulled, run, pinned, saved, pushed on; with a login and without.

use crate::harness::{self, Node, Registry, guest, run, until};
use serde_json::json;
use std::path::Path;

/// docker's configuration of a node's clients, with a login to one registry.
fn log_in(node: &Node, host: &str, auth: &str) {
    let folder = node.folder().join("docker");
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    std::fs::write(folder.join("config.json"), json!({"auths": {host: {"auth": auth}}}).to_string()).expect("the folder is ours");
}

#[test]
fn a_service_runs_what_a_registry_has() {
    let (node, registry) = (Node::swarm(), Registry::start());
    let pushed = registry.artifact("team/sum", "1.0", &guest("sum"));
    let image = format!("{}/team/sum:1.0", registry.host());
    // Pinned by the client through the daemon, pulled by the node.
    node.wsw(&["service", "create", "-d", "--name", "once", "--restart-condition", "none", &image, "1", "41"]).ok();
    let service = node.json("/services/once");
    let digest = pushed["digest"].as_str().expect("it has one");
    assert_eq!(service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"], format!("{image}@{digest}"));
    assert_eq!(service["Spec"]["TaskTemplate"]["Placement"]["Platforms"][0]["OS"], "wasi");
    node.wait_task("once", "complete");
    assert_eq!(node.wsw(&["service", "logs", "--raw", "once"]).ok(), "42\n");
    // Under its digest, without a tag, until somebody pulls the tag.
    let listed = node.json("/images/json");
    assert_eq!((listed[0]["RepoTags"].clone(), listed[0]["RepoDigests"].clone()), (json!([]), json!([format!("{}/team/sum@{digest}", registry.host())])));
    let said = node.wsw(&["pull", &image]).ok();
    assert!(said.contains(&format!("Digest: {digest}\nStatus: ")) && said.ends_with(&format!("{image}\n")), "{said}");
    assert_eq!(node.json("/images/json")[0]["RepoTags"], json!([image]));
    // The registry is gone: what is here goes on, also for a tag that would be looked up.
    drop(registry);
    node.wsw(&["service", "create", "-d", "--no-resolve-image", "--name", "again", "--restart-condition", "none", &image, "2", "2"]).ok();
    node.wait_task("again", "complete");
}

#[test]
fn what_a_registry_does_not_have_is_told_in_docker_s_words() {
    let (node, registry) = (Node::swarm(), Registry::start());
    registry.artifact("team/sum", "1.0", &guest("sum"));
    let host = registry.host();
    let said = node.wsw(&["pull", &format!("{host}/team/sum:2")]).failed();
    assert!(said.contains(&format!("manifest for {host}/team/sum:2 not found: manifest unknown")), "{said}");
    let warned = node.wsw(&["service", "create", "-d", "--name", "ghost", "--restart-condition", "none", &format!("{host}/team/sum:2")]);
    assert!(warned.code == 0 && warned.err.contains("could not be accessed on a registry"), "{warned}");
    let task = node.wait_task("ghost", "rejected");
    let reason = task["Status"]["Err"].as_str().unwrap_or_default();
    assert!(reason.contains(&format!("No such image: {host}/team/sum:2")), "{reason}");
    for (given, words) in [("Up/per", "must be lowercase"), ("-x", "unknown shorthand"), (":", "invalid reference format")] {
        let said = node.wsw(&["pull", given]).failed();
        assert!(said.contains(words), "{given}: {said}");
    }
}

#[test]
fn a_login_goes_to_the_registry_and_into_no_text() {
    let (node, registry) = (Node::swarm(), Registry::with_login());
    registry.artifact("private/sum", "1", &guest("sum"));
    let image = format!("{}/private/sum:1", registry.host());
    let said = node.wsw(&["pull", &image]).failed();
    assert!(said.contains("pull access denied for") && said.contains("may require 'docker login'"), "{said}");
    log_in(&node, &registry.host(), "d2VuZHk6d3Jvbmc=");
    assert!(node.wsw(&["pull", &image]).failed().contains("pull access denied"));
    let mut command = node.client(Path::new(env!("CARGO_BIN_EXE_wsw")), &["login", "-u", "wendy", "-p", "s3cret-pass", &registry.host()]);
    assert!(run(&mut command).ok().contains("Login Succeeded"));
    node.wsw(&["service", "create", "-d", "--with-registry-auth", "--name", "once", "--restart-condition", "none", &image, "1", "41"]).ok();
    node.wait_task("once", "complete");
    node.wsw(&["pull", "-q", &image]).ok();
    // The stock client reads the same file.
    for docker in harness::docker_clients() {
        run(&mut node.client(&docker, &["pull", &image])).ok();
    }
    let shown = [node.wsw(&["service", "inspect", "once"]).ok(), node.api("GET", "/tasks", &[]).body, node.log()].concat();
    for secret in ["s3cret-pass", "wendy", "d2VuZHk6", "czNjcmV0"] {
        assert!(!shown.contains(secret), "{secret} is told");
    }
    let on_disk = std::process::Command::new("grep").args(["-rlaE", "s3cret-pass|czNjcmV0"]).arg(node.folder().join("d")).output().expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&on_disk.stdout), "", "the credentials lie on the disk");
    assert!(node.wsw(&["logout", &registry.host()]).ok().starts_with("Removing login credentials for"));
    assert!(node.wsw(&["pull", &image]).failed().contains("pull access denied"));
}

#[test]
fn a_platform_index_gives_the_wasm_entry() {
    let (node, registry) = (Node::swarm(), Registry::start());
    let wasm = registry.artifact("multi", "wasm-only", &guest("sum"));
    let layer = registry.blob("multi", "application/vnd.oci.image.layer.v1.tar", &[0; 1024]);
    let config = registry.blob("multi", "application/vnd.oci.image.config.v1+json", json!({"architecture": "amd64", "os": "linux"}).to_string().as_bytes());
    let linux = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]});
    let mut linux = registry.manifest("multi", "", &linux);
    linux["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut entry = wasm.clone();
    entry["platform"] = json!({"os": "wasip2", "architecture": "wasm"});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [linux, entry]});
    let index = registry.manifest("multi", "all", &index);
    let image = format!("{}/multi:all", registry.host());
    node.wsw(&["pull", &image]).ok();
    let found = node.json(&format!("/images/{image}/json"));
    assert_eq!((found["Id"].clone(), found["Os"].clone()), (wasm["digest"].clone(), json!("wasi")));
    assert_eq!(found["RepoDigests"], json!([format!("{}/multi@{}", registry.host(), index["digest"].as_str().expect("a digest"))]));
    // By the index's digest it is the same image, and the registry is not asked.
    let pinned = format!("{image}@{}", index["digest"].as_str().expect("a digest"));
    drop(registry);
    node.wsw(&["service", "create", "-d", "--no-resolve-image", "--name", "once", "--restart-condition", "none", &pinned, "40", "2"]).ok();
    node.wait_task("once", "complete");
}

#[test]
fn images_are_saved_tagged_pushed_and_removed() {
    let (node, registry) = (Node::swarm(), Registry::start());
    let tar = harness::image_tar(node.folder(), "sum", &guest("sum"));
    node.wsw(&["load", "-i", &tar.to_string_lossy()]).ok();
    let target = format!("{}/copies/sum:7", registry.host());
    assert_eq!(node.wsw(&["tag", "sum", &target]).ok(), "");
    let said = node.wsw(&["push", &target]).ok();
    assert!(said.contains(&format!("The push refers to repository [{}/copies/sum]", registry.host())) && said.contains("7: digest: sha256:"), "{said}");
    assert!(node.wsw(&["push", &target]).ok().contains("Layer already exists"));
    let saved = node.folder().join("saved.tar").to_string_lossy().into_owned();
    assert_eq!(node.wsw(&["save", "-o", &saved, "sum", &target]).ok(), "");
    let digest = node.json("/images/sum/json")["Id"].clone();
    let history = node.wsw(&["history", "-q", "--no-trunc", "sum"]).ok();
    assert_eq!(history.trim(), digest.as_str().expect("it has one"));
    assert_eq!(node.wsw(&["rmi", &target]).ok(), format!("Untagged: {target}\n"));
    let gone = node.wsw(&["rmi", "sum"]).ok();
    assert_eq!(gone, format!("Untagged: sum:latest\nDeleted: {}\n", digest.as_str().expect("it has one")));
    assert_eq!(node.wsw(&["image", "ls", "-q"]).ok(), "");
    // Both ways back.
    let said = node.wsw(&["load", "-i", &saved]).ok();
    assert!(said.contains("sum:latest") && said.contains(&target), "{said}");
    assert_eq!(node.json("/images/sum/json")["Id"], digest);
    node.wsw(&["rmi", "-f", digest.as_str().expect("it has one")]).ok();
    node.wsw(&["pull", "-q", &target]).ok();
    assert_eq!(node.json(&format!("/images/{target}/json"))["Id"], digest);
    // A tag that moved on leaves an image without one; prune takes it.
    registry.artifact("copies/sum", "7", &guest("tick"));
    node.wsw(&["pull", "-q", &target]).ok();
    assert_eq!(node.json("/images/json").as_array().map(Vec::len), Some(2));
    let pruned = node.wsw(&["image", "prune", "-f"]).ok();
    assert!(pruned.contains(&format!("deleted: {}", digest.as_str().expect("it has one"))) && pruned.contains("Total reclaimed space: "), "{pruned}");
    let images = until("one image to be left", || match node.json("/images/json").as_array() {
        Some(images) if images.len() == 1 => Ok(images.clone()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(images[0]["RepoTags"], json!([target]));
}
