//! Containers on several nodes: a port that every node leads to, both kinds of tasks side by side, and images that come from a registry. As root.

use crate::harness::containers::{INFINITE, contained, infinite, wait_gone};
use crate::harness::{Cluster, Node, Registry, free_tcp_port, get_from, guest, newest_docker, run, until};
use crate::oci_network::{heard, is_header};
use std::net::SocketAddr;

/// Three nodes; the image is loaded on the first and comes to the others when they need it.
fn cluster() -> Option<Cluster> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    Some(Cluster::of(2))
}

fn nodes(cluster: &Cluster) -> [&Node; 3] {
    [&cluster.manager, &cluster.workers[0], &cluster.workers[1]]
}

fn load(cluster: &Cluster) {
    let file = infinite(cluster.manager.folder()).to_string_lossy().into_owned();
    for node in nodes(cluster) {
        node.wsw(&["load", "-q", "-i", &file]).ok();
    }
}

fn wait_all_gone(cluster: &Cluster) {
    nodes(cluster).into_iter().for_each(wait_gone);
}

#[test]
fn every_node_leads_to_containers_wherever_they_run() {
    let Some(cluster) = cluster() else { return };
    load(&cluster);
    let port = free_tcp_port();
    let web = ["eon01/infinite", "httpd", "-f", "-p", "80", "-h", "/www"];
    cluster.manager.wsw(&[&["service", "create", "--name", "web", "--replicas", "3", "-p", &format!("{port}:80")], &web[..]].concat()).ok();
    let all_answer = || {
        for node in nodes(&cluster) {
            let body = until("an answer", || match get_from(SocketAddr::from((node.addr(), port)), "/")? {
                answer if answer.status == 200 => Ok(answer.body),
                answer => Err(format!("{answer:?}")),
            });
            assert_eq!(body, "hello from a container\n", "{}", node.addr());
        }
    };
    all_answer();
    // Two of them have none of its tasks now.
    cluster.manager.wsw(&["service", "scale", "web=1"]).ok();
    all_answer();
    // And the client's address gets to the container all the same.
    let port = free_tcp_port();
    let constraint = format!("node.id=={}", cluster.workers[0].id());
    let echo = ["--container-label", "wsw.ingress.proxy-protocol=v2", "eon01/infinite", "busybox", "nc", "-ll", "-p", "80", "-e", "cat"];
    cluster.manager.wsw(&[&["service", "create", "--name", "told", "--constraint", &constraint, "-p", &format!("{port}:80")], &echo[..]].concat()).ok();
    for node in nodes(&cluster) {
        let (bytes, client) = until("an echo", || heard(SocketAddr::from((node.addr(), port)), b"hello"));
        // Where it arrived is known to the node that it came to; one that got it from there tells its own end.
        assert!(is_header(&bytes, client) && bytes.ends_with(b"hello"), "{}: {client}: {bytes:?}", node.addr());
    }
    cluster.manager.wsw(&["service", "rm", "web", "told"]).ok();
    wait_all_gone(&cluster);
}

#[test]
fn both_kinds_of_tasks_run_side_by_side() {
    let Some(cluster) = cluster() else { return };
    load(&cluster);
    let tick = guest("tick");
    cluster.load_everywhere("tick", &tick);
    cluster.manager.wsw(&["service", "create", "-d", "--name", "boxes", "--replicas", "25", "eon01/infinite"]).ok();
    cluster.manager.wsw(&["service", "create", "-d", "--name", "ticks", "--replicas", "25", "tick"]).ok();
    for service in ["boxes", "ticks"] {
        cluster.manager.wait_running(service, 25);
        let placed = cluster.placed(service);
        assert!(placed.len() == 3 && placed.values().all(|tasks| tasks.len() >= 8), "{service} is spread evenly: {placed:?}");
    }
    until("a process for each container", || match nodes(&cluster).iter().map(|node| contained(node.data_root()).len()).sum::<usize>() {
        25 => Ok(()),
        other => Err(format!("{other} processes")),
    });
    let listed: usize = nodes(&cluster).iter().map(|node| node.local().len()).sum();
    assert_eq!(listed, 50, "each node lists its own of both kinds");
    cluster.manager.wsw(&["service", "rm", "boxes", "ticks"]).ok();
    wait_all_gone(&cluster);
}

#[test]
fn the_article_s_walk_from_a_registry_with_docker() {
    let Some(cluster) = cluster() else { return };
    let (docker, registry) = (newest_docker(), Registry::start());
    let image = format!("{}/eon01/infinite:1.0", registry.host());
    let docker = |words: &[&str]| run(&mut cluster.manager.client(&docker, words));
    docker(&["load", "-i", &infinite(cluster.manager.folder()).to_string_lossy()]).ok();
    docker(&["tag", INFINITE, &image]).ok();
    let pushed = docker(&["push", &image]).ok();
    assert!(pushed.contains("1.0: digest: sha256:"), "{pushed}");
    // Nobody has it any more but the registry.
    docker(&["image", "rm", &image, INFINITE]).ok();
    docker(&["service", "create", "-d", "--name", "infinite_service", &image]).ok();
    cluster.manager.wait_running("infinite_service", 1);
    let shown = cluster.manager.json("/services/infinite_service");
    let pinned = shown["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].as_str().unwrap_or_default();
    assert!(pinned.starts_with(&format!("{image}@sha256:")), "{pinned}");
    docker(&["service", "scale", "-d", "infinite_service=12"]).ok();
    let before = cluster.manager.wait_running("infinite_service", 12);
    let placed = cluster.placed("infinite_service");
    assert!(placed.len() == 3 && placed.values().all(|tasks| tasks.len() == 4), "{placed:?}");
    // One of this node is killed: another comes.
    let id = docker(&["ps", "-q", "--filter", "label=com.docker.swarm.service.name=infinite_service"]).ok();
    let victim = id.lines().next().expect("four of them run here");
    docker(&["exec", victim, "true"]).ok();
    docker(&["kill", victim]).ok();
    until("another in its place", || {
        let now = cluster.manager.running("infinite_service");
        let kept = before.keys().filter(|task| now.contains_key(*task)).count();
        if (now.len(), kept) == (12, 11) { Ok(()) } else { Err(format!("{} run, {kept} of them as before", now.len())) }
    });
    docker(&["service", "rm", "infinite_service"]).ok();
    wait_all_gone(&cluster);
}
