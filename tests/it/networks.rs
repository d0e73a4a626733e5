//! Networks as objects, and `docker stack deploy`, which cannot do without them.

use crate::harness::{self, Node, free_tcp_port, guest, image_tar, run, until};

#[test]
fn made_listed_and_removed() {
    let node = Node::swarm();
    let made = node.wsw(&["network", "create", "-d", "overlay", "--label", "a=b", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1", "front"]);
    assert!(made.err.contains("recorded only"), "{made}");
    let id = made.ok().trim().to_owned();
    assert!(node.wsw(&["network", "create", "front"]).failed().contains("network with name front already exists"));
    assert!(node.wsw(&["network", "create", "-d", "overlay", "--subnet", "10.9.0.128/25", "other"]).failed().contains("overlaps"));
    assert_eq!(
        node.wsw(&["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}} {{.Driver}} {{.Scope}}"]).ok().trim(),
        format!("{id} front overlay swarm")
    );
    assert_eq!(node.wsw(&["inspect", "--type", "network", "--format", "{{(index .IPAM.Config 0).Gateway}}", "front"]).ok().trim(), "10.9.0.1");
    let attached = node.wsw(&["service", "create", "--name", "ticking", "--network", "front", &guest("tick").to_string_lossy()]);
    assert!(attached.err.contains("recorded only"), "{attached}");
    attached.ok();
    assert!(node.wsw(&["network", "rm", "front"]).failed().contains("is in use by service"));
    assert_eq!(node.wsw(&["network", "prune", "-f"]).ok(), "");
    assert!(node.wsw(&["ps", "--filter", "network=front", "--format", "{{.Networks}}"]).ok().contains("front"));
    node.wsw(&["service", "rm", "ticking"]).ok();
    node.wsw(&["network", "create", "-d", "overlay", "idle"]).ok();
    assert_eq!(node.wsw(&["network", "rm", "front"]).ok().trim(), "front");
    let pruned = node.wsw(&["network", "prune", "-f"]).ok();
    assert!(pruned.contains("Deleted Networks:\nidle\n"), "{pruned}");
    let told = node.told(&["--filter", "type=network", "--format", "{{.Action}} {{.Actor.ID}}"], |told| told.matches("prune").count() == 2);
    let ids: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("create ")).collect();
    let told: Vec<String> = told.lines().map(|line| line.replace(ids[0], "front").replace(ids[1], "idle").trim().to_owned()).collect();
    assert_eq!(told, ["create front", "prune", "create idle", "remove front", "remove idle", "prune"]);
}

/// They survive the daemon, by the log and by a snapshot alike.
#[test]
fn they_outlive_the_daemon() {
    let mut node = Node::swarm();
    node.wsw(&["network", "create", "-d", "overlay", "lasting"]).ok();
    node.kill();
    node.restart();
    assert!(node.wsw(&["network", "ls"]).ok().contains("lasting"));
}

#[test]
fn stack_deploy() {
    let node = Node::swarm();
    let folder = tempfile::tempdir().unwrap();
    let archive = image_tar(folder.path(), "hello", &guest("hello_http"));
    node.wsw(&["load", "-i", &archive.to_string_lossy()]).ok();
    let image = node.wsw(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    let port = free_tcp_port();
    let file = folder.path().join("stack.yml");
    let text = format!(
        "version: \"3.8\"\nservices:\n  web:\n    image: {}\n    ports: [\"{port}:80\"]\n    labels: {{team: a}}\n    deploy: {{replicas: 2, labels: {{tier: front}}}}\n    networks: {{front: {{aliases: [page]}}, default: null}}\nnetworks:\n  front: {{driver: overlay, attachable: true, labels: {{zone: dmz}}}}\n",
        image.trim()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_string_lossy().into_owned();
    for docker in harness::docker_clients() {
        let stack = |words: &[&str]| run(&mut node.client(&docker, words));
        let said = stack(&["stack", "deploy", "--resolve-image", "never", "-c", &file, "shop"]).ok();
        assert!(said.contains("Creating network shop_default") && said.contains("Creating service shop_web"), "{said}");
        let attached = node.json("/services/shop_web")["Spec"]["TaskTemplate"]["Networks"].take();
        assert_eq!(attached.as_array().map(Vec::len), Some(2), "{attached}");
        assert!(attached.to_string().contains("page"), "{attached}");
        assert_eq!(node.json("/networks/shop_front")["Labels"]["zone"], "dmz");
        node.wait_running("shop_web", 2);
        until("the page", || harness::get(port, "/").map(drop));
        // Once more changes nothing and breaks nothing.
        stack(&["stack", "deploy", "--resolve-image", "never", "-c", &file, "shop"]).ok();
        assert!(stack(&["stack", "ls"]).ok().contains("shop"));
        assert!(stack(&["stack", "services", "shop"]).ok().contains("shop_web"));
        assert!(stack(&["stack", "ps", "shop"]).ok().contains("shop_web.1"));
        stack(&["stack", "rm", "shop"]).ok();
        until("all to be gone", || match (node.json("/networks"), node.json("/services")) {
            (networks, services) if networks == serde_json::json!([]) && services == serde_json::json!([]) => Ok(()),
            (networks, services) => Err(format!("{networks} {services}")),
        });
    }
}
