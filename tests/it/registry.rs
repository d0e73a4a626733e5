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

#[test]
fn all_tags_go_out_and_come_in() {
    let (node, registry) = (Node::swarm(), Registry::start());
    let repository = format!("{}/many/app", registry.host());
    for (name, tags) in [("sum", &["1", "1.0", "latest"][..]), ("tick", &["2"])] {
        let tar = harness::image_tar(node.folder(), name, &guest(name));
        node.wsw(&["load", "-i", &tar.to_string_lossy()]).ok();
        for tag in tags {
            node.wsw(&["tag", name, &format!("{repository}:{tag}")]).ok();
        }
    }
    let first = node.wsw(&["push", "-a", &repository]).ok();
    let digests = |said: &str| {
        said.lines().filter(|line| line.contains(": digest: sha256:")).map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(digests(&first), ["1", "1.0", "2", "latest"], "{first}");
    assert_eq!(first.matches("The push refers to repository").count(), 1, "{first}");
    let docker = harness::docker_clients().remove(0);
    // All is there by now: what is said has no chance in it, and is the same in both.
    let same = |words: &[&str]| {
        let (ours, theirs) = (node.wsw(words), run(&mut node.client(&docker, words)));
        assert_eq!((ours.code, &ours.out, &ours.err), (theirs.code, &theirs.out, &theirs.err), "{words:?}");
        ours.out
    };
    same(&["push", "-a", &repository]);
    same(&["push", "-q", "-a", &repository]);
    same(&["push", "-q", &repository]);
    same(&["push", &repository]);
    same(&["push", &format!("{repository}:1.0")]);
    same(&["push", "-a", &format!("{repository}:1.0")]);
    same(&["push", &format!("{repository}:nosuch")]);
    same(&["push", "-a", &format!("{repository}/nosuch")]);
    node.wsw(&["image", "prune", "-a", "-f"]).ok();
    assert_eq!(node.json("/images/json"), json!([]));
    // Layers come in any order; the words are the same.
    let sorted = |said: &str| {
        let mut lines: Vec<_> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let ours = node.wsw(&["pull", "-a", &repository]).ok();
    node.wsw(&["image", "prune", "-a", "-f"]).ok();
    let theirs = run(&mut node.client(&docker, &["pull", "-a", &repository])).ok();
    assert_eq!(sorted(&ours), sorted(&theirs));
    let tags = node.json("/images/json");
    let mut tags: Vec<_> = tags.as_array().into_iter().flatten().flat_map(|image| image["RepoTags"].as_array().cloned().unwrap_or_default()).collect();
    tags.sort_by_key(ToString::to_string);
    assert_eq!(tags, ["1", "1.0", "2", "latest"].map(|tag| json!(format!("{repository}:{tag}"))));
    same(&["pull", "-a", &repository]);
    same(&["pull", "-q", &repository]);
    same(&["pull", "-a", "-q", &repository]);
    same(&["pull", "-a", &format!("{repository}:1")]);
    same(&["pull", "--platform", "wasi/wasm", &format!("{repository}:1")]);
    same(&["pull", "--platform", "a/b/c/d", &format!("{repository}:1")]);
    same(&["pull", &format!("{repository}/nosuch")]);
    same(&["pull", "-a", &format!("{repository}/nosuch")]);
}

#[test]
fn the_disk_that_compiled_code_takes_is_shown_and_given_back() {
    let node = Node::swarm();
    for name in ["sum", "tick"] {
        let tar = harness::image_tar(node.folder(), name, &guest(name));
        node.wsw(&["load", "-i", &tar.to_string_lossy()]).ok();
    }
    node.wsw(&["service", "create", "-d", "--name", "tick", "tick"]).ok();
    node.wait_running("tick", 1);
    let records = |node: &Node| node.json("/system/df")["BuildCache"].as_array().cloned().expect("there is a list");
    let found = records(&node);
    assert_eq!(found.iter().map(|record| record["InUse"].as_bool()).filter(|used| *used == Some(true)).count(), 1, "{found:?}");
    assert!(found.len() == 2 && found.iter().all(|record| record["Size"].as_u64() > Some(0)), "{found:?}");
    let docker = harness::docker_clients().remove(0);
    for words in [&["system", "df"][..], &["system", "df", "--format", "{{.Type}}={{.TotalCount}}/{{.Active}}/{{.Size}}/{{.Reclaimable}}"]] {
        assert_eq!(node.wsw(words).ok(), run(&mut node.client(&docker, words)).ok());
    }
    let shown = |said: String| {
        said.lines()
            .skip_while(|line| !line.starts_with("Build cache usage"))
            .map(|line| line.split("  ").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(node.wsw(&["system", "df", "-v"]).ok()), shown(run(&mut node.client(&docker, &["system", "df", "-v"])).ok()));
    // Pruning leaves what a task has; the rest is made again when it is wanted.
    let idle = found.iter().find(|record| record["InUse"] == false).and_then(|record| record["ID"].as_str()).expect("one is").to_owned();
    let theirs = run(&mut node.client(&docker, &["system", "prune", "-f"])).ok();
    assert!(theirs.contains(&format!("Deleted build cache objects:\n{idle}\n")), "{theirs}");
    assert_eq!(records(&node).len(), 1);
    node.wsw(&["service", "create", "-d", "--name", "once", "--restart-condition", "none", "sum", "1", "41"]).ok();
    node.wait_task("once", "complete");
    until("the ended task to have given up its code", || match records(&node) {
        records if records.len() == 2 && records.iter().any(|record| record["InUse"] == false) => Ok(()),
        records => Err(format!("{records:?}")),
    });
    // What has ended would be in the answer too.
    node.wsw(&["container", "prune", "-f"]).ok();
    assert_eq!(node.wsw(&["system", "prune", "-f"]).ok(), theirs);
}
