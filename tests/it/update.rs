//! `service update`, `node update` and `swarm update`: each flag as docker's client sends it.
//!
//! Two services that are alike, one changed by docker's client and one by ours; after each line their specs must be alike again.

use crate::harness::{self, Node, guest, run};
use serde_json::Value;

/// Flags of `service update`, one change after the other. Pairs come as docker has them: added, changed, removed.
const CHANGES: &[&str] = &[
    "--env-add A=1 --env-add B=2",
    "--env-add A=3 --env-rm B",
    "--env-rm A",
    "--label-add tier=front --label-add team=a",
    "--label-rm tier",
    "--container-label-add x=y",
    "--container-label-rm x",
    "--publish-add published=18080,target=80,mode=host --publish-add published=18081,target=81,protocol=udp,mode=host",
    "--publish-rm 81/udp",
    "--publish-rm 80",
    "--limit-cpu 0.5 --limit-memory 64M --limit-pids 10",
    "--limit-memory 0 --limit-pids 0",
    "--reserve-cpu 0.25 --reserve-memory 32M",
    "--constraint-add node.role==manager --constraint-add node.labels.a!=b",
    "--constraint-rm node.labels.a!=b",
    "--placement-pref-add spread=node.labels.zone",
    "--placement-pref-rm spread=node.labels.zone",
    "--replicas-max-per-node 3",
    "--replicas 0",
    "--force",
    "--restart-condition on-failure --restart-delay 2s --restart-max-attempts 3 --restart-window 30s",
    "--stop-grace-period 20s",
    "--stop-signal SIGINT",
    "--hostname box",
    "--workdir /work",
    "--user 1000:1000",
    "--read-only",
    "--read-only=false",
    "--init",
    "--tty=false",
    "--no-healthcheck",
    "--update-parallelism 2 --update-delay 1s --update-order start-first --update-failure-action continue --update-max-failure-ratio 0.5 --update-monitor 3s",
    "--rollback-parallelism 3 --rollback-delay 2s --rollback-order stop-first --rollback-failure-action pause --rollback-max-failure-ratio 0.25 --rollback-monitor 4s",
    "--endpoint-mode dnsrr",
    "--endpoint-mode vip",
    "--network-add front",
    "--network-rm front",
    "--image other",
    "--replicas 1 --replicas 0",
    "--rollback",
    "--quiet --label-add last=one",
];

/// What neither client sends, or the daemon refuses: the same words and the same code.
const REFUSED: &[&str] = &[
    "--publish-add 99999:80",
    "--publish-rm nonsense",
    "--constraint-add nonsense",
    "--limit-memory lots",
    "--limit-cpu 0.00001",
    "--replicas -1",
    "--restart-condition sometimes",
    "--restart-delay soon",
    "--update-order sideways",
    "--update-max-failure-ratio 2",
    "--placement-pref-add odd=x",
    "--network-add nosuch",
    "--nosuch",
    "--env-add =x",
    "--endpoint-mode odd",
    "--rollback --force",
];

fn spec(node: &Node, service: &str) -> Value {
    let mut spec = node.json(&format!("/services/{service}"))["Spec"].take();
    spec["Name"] = Value::Null;
    // docker adds variables in the order of a Go map: by chance.
    if let Some(env) = spec["TaskTemplate"]["ContainerSpec"]["Env"].as_array_mut() {
        env.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    spec
}

#[test]
fn every_flag_of_service_update() {
    let docker = harness::newest_docker();
    let node = Node::swarm();
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [("tick", guest("tick")), ("other", guest("sum"))] {
        let archive = harness::image_tar(folder.path(), name, &file);
        node.wsw(&["load", "-i", &archive.to_string_lossy()]).ok();
    }
    node.wsw(&["network", "create", "-d", "overlay", "front"]).ok();
    for service in ["theirs", "ours"] {
        node.wsw(&["service", "create", "-d", "--no-resolve-image", "--name", service, "--replicas", "0", "tick:latest"]).ok();
    }
    let words = |flags: &'static str, service: &'static str| {
        let mut words = vec!["service", "update", "-d"];
        // Nothing may be combined with a rollback.
        words.extend((!flags.contains("--rollback")).then_some("--no-resolve-image"));
        words.extend(flags.split(' '));
        words.push(service);
        words
    };
    let mut wrong = Vec::new();
    for flags in CHANGES {
        let theirs = run(&mut node.client(&docker, &words(flags, "theirs")));
        let ours = node.wsw(&words(flags, "ours"));
        assert_eq!(theirs.code, 0, "docker service update {flags}: {theirs}");
        let (left, right) = (spec(&node, "theirs"), spec(&node, "ours"));
        if ours.code != 0 || ours.out.replace("ours", "theirs") != theirs.out || left != right {
            wrong.push(format!("=== {flags}\n{theirs}\n{ours}\n{left}\n{right}"));
        }
    }
    for flags in REFUSED {
        let theirs = run(&mut node.client(&docker, &words(flags, "theirs")));
        let ours = node.wsw(&words(flags, "ours"));
        let renamed = theirs.err.replace("docker", "wsw").replace("theirs", "ours");
        if theirs.code == 0 || ours.code != theirs.code || ours.err.replace("docker", "wsw") != renamed {
            wrong.push(format!("=== {flags}\n{theirs}\n{ours}"));
        }
    }
    assert_eq!(spec(&node, "theirs"), spec(&node, "ours"), "what was refused changed nothing");
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn node_and_swarm_update() {
    let docker = harness::newest_docker();
    let node = Node::swarm();
    let own = node.wsw(&["node", "ls", "-q"]).ok().trim().to_owned();
    let changes: [&[&str]; 5] = [
        &["node", "update", "--label-add", "a=b", "--label-add", "c=d"],
        &["node", "update", "--availability", "pause"],
        &["swarm", "update", "--task-history-limit", "3"],
        &["swarm", "update", "--cert-expiry", "720h", "--dispatcher-heartbeat", "10s"],
        &["swarm", "update", "--snapshot-interval", "5000"],
    ];
    let specs = || [node.json("/nodes")[0]["Spec"].take(), node.json("/swarm")["Spec"].take()];
    for words in changes {
        let words: Vec<&str> = words.iter().copied().chain((words[0] == "node").then_some(own.as_str())).collect();
        let theirs = run(&mut node.client(&docker, &words));
        let after_theirs = specs();
        let ours = node.wsw(&words);
        assert_eq!((ours.code, &ours.out), (theirs.code, &theirs.out), "{words:?}: {theirs} {ours}");
        assert_eq!(theirs.code, 0, "{theirs}");
        assert_eq!(specs(), after_theirs, "{words:?}");
    }
    // A label goes once; the second to ask is told.
    run(&mut node.client(&docker, &["node", "update", "--label-rm", "a", "self"])).ok();
    node.wsw(&["node", "update", "--label-rm", "c", "self"]).ok();
    assert_eq!(node.json("/nodes")[0]["Spec"]["Labels"], serde_json::json!({}));
    assert!(node.wsw(&["node", "update", "--label-rm", "a", "self"]).failed().contains("key a doesn't exist in node's labels"));
}
