//! What a node shows of its own containers: the same on a worker as on a manager, and as it really is inside.

use crate::harness::containers::infinite;
use crate::harness::{Cluster, Node, guest, is_root, until};
use serde_json::Value;

/// A service on each node, with placeholders where Swarm knows them.
const SERVICE: &[&str] = &[
    "service",
    "create",
    "-q",
    "--name",
    "box",
    "--mode",
    "global",
    "--label",
    "tier=front",
    "--container-label",
    "own=label",
    "--hostname",
    "{{.Service.Name}}-{{.Node.ID}}",
    "--env",
    "WHO={{.Task.Name}} {{index .Service.Labels \"tier\"}}",
    "--mount",
    "type=volume,source=data-{{.Service.Name}},target=/data",
    "--limit-memory",
    "64m",
    "--limit-pids",
    "50",
    "--cap-add",
    "NET_ADMIN",
    "--sysctl",
    "net.core.somaxconn=99",
    "--ulimit",
    "nofile=64:128",
    "--host",
    "other:10.0.0.9",
    "--dns",
    "10.0.0.53",
    "eon01/infinite",
];

fn inspected(node: &Node, id: &str) -> Value {
    node.json(&format!("/containers/{id}/json"))
}

/// What is said of a container, beside what it finds itself.
fn check(node: &Node, id: &str, own: &str) {
    let found = inspected(node, id);
    let inside = |script: &str| node.wsw(&["exec", id, "sh", "-c", script]).ok().trim().to_owned();
    let name = node.wsw(&["ps", "--no-trunc", "--filter", &format!("id={id}"), "--format", "{{.Names}}"]).ok().trim().to_owned();
    assert_eq!(found["Name"], format!("/{name}"));
    assert!(name.starts_with(&format!("box.{own}.")), "{name}");
    assert_eq!(found["Config"]["Hostname"], format!("box-{own}"));
    assert_eq!(found["Config"]["Hostname"], inside("busybox hostname"));
    let who = format!("WHO={name} front");
    assert!(found["Config"]["Env"].as_array().unwrap().contains(&who.as_str().into()), "{found}");
    assert_eq!(inside("echo WHO=$WHO"), who);
    assert_eq!((&found["Config"]["Labels"]["own"], &found["Config"]["Labels"]["com.docker.swarm.service.name"]), (&"label".into(), &"box".into()));
    assert!(found["Config"]["Image"].as_str().unwrap().starts_with("eon01/infinite:latest"), "{found}");
    assert_eq!((&found["Path"], &found["Args"]), (&"tail".into(), &serde_json::json!(["-f", "/dev/null"])));
    assert_eq!((&found["Mounts"][0]["Name"], &found["Mounts"][0]["Destination"]), (&"data-box".into(), &"/data".into()));
    let host = &found["HostConfig"];
    assert_eq!((&host["Memory"], &host["PidsLimit"], &host["Runtime"]), (&(64 << 20).into(), &50.into(), &"io.containerd.runc.v2".into()));
    assert_eq!((&host["CapAdd"][0], &host["Sysctls"]["net.core.somaxconn"]), (&"CAP_NET_ADMIN".into(), &"99".into()));
    assert_eq!((&host["Ulimits"][0]["Hard"], &host["ExtraHosts"][0], &host["Dns"][0]), (&128.into(), &"other:10.0.0.9".into(), &"10.0.0.53".into()));
    let network = &found["NetworkSettings"];
    let address = inside("busybox ip -4 -o addr show eth0 | busybox tr -s ' ' | busybox cut -d ' ' -f 4");
    assert_eq!(format!("{}/{}", network["IPAddress"].as_str().unwrap(), network["IPPrefixLen"]), address);
    assert_eq!(network["MacAddress"], inside("cat /sys/class/net/eth0/address"));
    assert_eq!(network["Gateway"], inside("busybox ip route | busybox awk '/^default/ { print $3 }'"));
    assert_eq!(network["Networks"]["bridge"]["IPAddress"], network["IPAddress"]);
}

#[test]
fn a_worker_shows_its_containers_as_a_manager_does() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::of(1);
    let file = infinite(cluster.manager.folder());
    cluster.manager.wsw(&["load", "-q", "-i", &file.to_string_lossy()]).ok();
    cluster.manager.wsw(SERVICE).ok();
    cluster.manager.wait_running("box", 2);
    for node in [&cluster.manager, &cluster.workers[0]] {
        let ids = node.wsw(&["ps", "-q", "--no-trunc"]).ok();
        assert_eq!(ids.lines().count(), 1, "{ids}");
        check(node, ids.trim(), &node.id());
    }
    let manager = &cluster.manager;
    let addresses = [manager, &cluster.workers[0]].map(|node| inspected(node, node.wsw(&["ps", "-q"]).ok().trim())["NetworkSettings"]["IPAddress"].clone());
    assert_ne!(addresses[0], addresses[1]);
    // By its name, in what happened to it, and once it has ended.
    let id = cluster.workers[0].wsw(&["ps", "-q", "--no-trunc"]).ok().trim().to_owned();
    let name = cluster.workers[0].wsw(&["ps", "--format", "{{.Names}}"]).ok().trim().to_owned();
    cluster.workers[0].wsw(&["kill", &name]).ok();
    until("its end", || {
        let state = inspected(&cluster.workers[0], &id)["State"].to_string();
        if state.contains("exited") { Ok(()) } else { Err(state) }
    });
    cluster.workers[0].kill();
    cluster.workers[0].restart();
    let worker = &cluster.workers[0];
    let of_it = ["ps", "-a", "--no-trunc", "--filter", &format!("id={id}"), "--format", "{{.Names}} {{.Image}} {{.Command}}"];
    until("the ended container", || {
        let said = worker.wsw(&of_it).out;
        let expected = format!("{name} eon01/infinite:latest");
        if said.starts_with(&expected) && said.contains("tail -f /dev/null") { Ok(()) } else { Err(said) }
    });
    let ended = inspected(worker, &id);
    assert_eq!((&ended["Config"]["Hostname"], &ended["NetworkSettings"]["IPAddress"]), (&format!("box-{}", worker.id()).into(), &"".into()));
}

#[test]
fn placeholders_mean_the_same_to_a_wasm_task() {
    let node = Node::swarm();
    let reference = guest("tick").to_string_lossy().into_owned();
    node.wsw(&["service", "create", "-q", "--name", "t", "--hostname", "{{.Service.Name}}-{{.Task.Slot}}", "--env", "A={{.Node.ID}}", &reference]).ok();
    let found = inspected(&node, node.wsw(&["ps", "-q"]).ok().trim());
    assert_eq!(found["Config"]["Hostname"], "t-1");
    assert!(found["Config"]["Env"].as_array().unwrap().contains(&format!("A={}", node.id()).into()), "{found}");
    assert_eq!(found["HostConfig"]["Runtime"], "io.wsw.wasm.v1");
    let bad = ["service", "create", "-d", "-q", "--name", "bad", "--env", "A={{.Nope}}", &reference];
    let refused = node.wsw(&bad);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.err.contains(r#"expanding env failed: "A={{.Nope}}": {{.Nope}} is no field of a task"#), "{refused}");
}
