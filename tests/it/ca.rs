//! The cluster's root: shown, replaced by one that is made or given, while everything goes on; and what is refused.

use crate::harness::forge::Forge;
use crate::harness::{Cluster, Managers, Node, guest, until};
use serde_json::Value;

fn root(node: &Node) -> String {
    node.wsw(&["swarm", "ca"]).ok()
}

/// What each node says of itself: the root that it believes, and its certificate's issuer.
fn said(node: &Node) -> Vec<Value> {
    node.json("/nodes").as_array().expect("it is a list").iter().map(|node| node["Description"]["TLSInfo"].clone()).collect()
}

/// Waits until a rotation is over and every node believes the root.
#[track_caller]
fn wait_rotated(node: &Node, nodes: usize) -> Value {
    until("the new root to be believed by all", || {
        let swarm = node.json("/swarm");
        let said = said(node);
        let over = swarm["RootRotationInProgress"] == false && said.len() == nodes && said.iter().all(|said| *said == swarm["TLSInfo"]);
        if over { Ok(swarm["TLSInfo"].clone()) } else { Err(format!("{} {said:?}", swarm["RootRotationInProgress"])) }
    })
}

#[test]
fn a_new_root_comes_in_while_tasks_and_sessions_go_on() {
    let cluster = Cluster::of(2);
    let manager = &cluster.manager;
    cluster.load_everywhere("tick", &guest("tick"));
    manager.wsw(&["service", "create", "-d", "--name", "t", "--mode", "global", "tick"]).ok();
    let running = manager.wait_running("t", 3);
    let ids: Vec<String> = cluster.workers.iter().map(Node::id).collect();
    let sessions: Vec<usize> = ids.iter().map(|id| cluster.sessions(id)).collect();
    let (before, token, info) = (root(manager), cluster.token("worker"), manager.json("/swarm")["TLSInfo"].clone());
    assert!(before.starts_with("-----BEGIN CERTIFICATE-----") && before.trim_end().ends_with("-----END CERTIFICATE-----"), "{before}");
    assert_eq!(wait_rotated(manager, 3), info);

    let printed = manager.wsw(&["swarm", "ca", "--rotate"]).ok();
    assert!(printed.contains("desired root digest: sha256:"), "{printed}");
    assert!(printed.ends_with(&root(manager)) && root(manager) != before, "{printed}");
    let after = wait_rotated(manager, 3);
    assert!(after["TrustRoot"] != info["TrustRoot"] && after["CertIssuerPublicKey"] != info["CertIssuerPublicKey"]);
    assert_eq!(after["TrustRoot"].as_str().map(str::trim), Some(root(manager).trim()));
    assert_eq!(manager.json("/info")["Swarm"]["Cluster"]["TLSInfo"], after);
    let listed = manager.wsw(&["node", "ls", "--format", "{{.TLSStatus}}"]).ok();
    assert_eq!(listed, "Ready\n".repeat(3));
    // The tokens name the new root.
    let new_token = cluster.token("worker");
    assert_ne!(token.split('-').nth(2), new_token.split('-').nth(2));
    let late = Cluster::apart();
    let refused = late.wsw(&["swarm", "join", "--token", &token, &manager.remote()]).failed();
    assert!(refused.contains("remote CA does not match fingerprint"), "{refused}");
    cluster.join(&late);
    cluster.wait_states(&["ready"], 4);
    // No task and no session ended for it.
    assert!(running.keys().all(|id| manager.running("t").contains_key(id)));
    let now: Vec<usize> = ids.iter().map(|id| cluster.sessions(id)).collect();
    assert_eq!(now, sessions);
    // A worker that starts again has what it needs, also the one that was there before.
    let mut cluster = cluster;
    cluster.workers[0].kill();
    cluster.workers[0].restart();
    cluster.manager.kill();
    cluster.restart_manager(&[&ids[0], &ids[1]]);
    cluster.wait_states(&["ready"], 4);
}

#[test]
fn a_given_root_is_taken_and_a_wrong_one_refused_in_swarms_words() {
    let cluster = Cluster::of(1);
    let manager = &cluster.manager;
    let (own, short, other) = (Forge::new(400), Forge::new(300), Forge::new(400));
    let (cert, key) = own.files(manager);
    let path = |name: &str, text: &str| {
        let path = manager.folder().join(name).display().to_string();
        std::fs::write(&path, text).expect("the folder is ours");
        path
    };
    let rotate = |cert: &str, key: &str| manager.wsw(&["swarm", "ca", "--rotate", "-q", "--ca-cert", cert, "--ca-key", key]).failed();
    let version = manager.json("/swarm")["Version"].clone();
    let leaf = own.certify(&crate::harness::forge::Claim::of(manager, "swarm-manager"), &own.key);
    for (cert, key, words) in [
        (cert.clone(), path("other.key", &other.key), "certificate key mismatch"),
        (path("short.crt", &short.pem), path("short.key", &short.key), "CA certificate expires too soon"),
        (path("two.crt", &format!("{}{}", own.pem, other.pem)), key.clone(), "the desired CA certificate cannot contain multiple certificates"),
        (path("leaf.crt", &leaf), key.clone(), "is not the certificate of a certificate authority"),
        (path("bad.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key.clone(), "could not parse the desired CA certificate"),
        (cert.clone(), path("bad.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "could not parse the desired CA key"),
    ] {
        let said = rotate(&cert, &key);
        assert!(said.contains("rpc error: code = InvalidArgument desc = ") && said.contains(words), "{words:?}: {said}");
    }
    let mut spec = manager.json("/swarm")["Spec"].clone();
    spec["CAConfig"]["SigningCAKey"] = own.key.clone().into();
    let answer = manager.api("POST", &format!("/swarm/update?version={}", version["Index"]), spec.to_string().as_bytes());
    assert!(answer.status == 400 && answer.message().contains("if a signing CA key is provided, the signing CA cert must also be provided"), "{answer:?}");
    let said = manager.wsw(&["swarm", "ca", "--rotate", "--ca-cert", &cert, "--external-ca", "protocol=cfssl,url=https://ca.example"]).failed();
    assert!(said.contains("CAConfig.ExternalCAs: not supported by this version of wsw"), "{said}");
    assert_eq!(manager.json("/swarm")["Version"], version, "nothing has changed");

    manager.wsw(&["swarm", "ca", "--rotate", "-q", "--cert-expiry", "48h", "--ca-cert", &cert, "--ca-key", &key]).ok();
    let swarm = manager.json("/swarm");
    assert_eq!(swarm["TLSInfo"]["TrustRoot"].as_str().map(str::trim), Some(own.pem.trim()));
    assert!(!swarm.to_string().contains("PRIVATE KEY"));
    // The expiry counts from the next certificate on, and that was now.
    for node in [manager, &cluster.workers[0]] {
        let left = crate::harness::forge::validity(node).1 - time::OffsetDateTime::now_utc();
        assert!(left > time::Duration::hours(40) && left <= time::Duration::hours(48), "{left}");
    }
    // Once more with the same is nothing; and back to one that is made, without waiting for it.
    own.give(manager);
    manager.wsw(&["swarm", "ca", "--rotate", "--detach"]).ok();
    let after = wait_rotated(manager, 2);
    assert_ne!(after["TrustRoot"].as_str().map(str::trim), Some(own.pem.trim()));
}

#[test]
fn a_node_that_is_away_holds_a_rotation_up_until_it_is_back_or_removed() {
    let mut cluster = Cluster::of(2);
    let ids: Vec<String> = cluster.workers.iter().map(Node::id).collect();
    let before = cluster.manager.json("/swarm")["TLSInfo"].clone();
    cluster.workers.iter_mut().for_each(Node::kill);
    ids.iter().for_each(|id| cluster.wait_state(id, "down"));
    cluster.manager.wsw(&["swarm", "ca", "--rotate", "-d"]).ok();
    let manager = &cluster.manager;
    until("the manager to have a certificate of the new root", || {
        let (swarm, own) = (manager.json("/swarm"), manager.json(&format!("/nodes/{}", manager.id())));
        let right = own["Description"]["TLSInfo"] == swarm["TLSInfo"] && swarm["TLSInfo"]["CertIssuerPublicKey"] != before["CertIssuerPublicKey"];
        if right { Ok(()) } else { Err(format!("{swarm} {own}")) }
    });
    let swarm = manager.json("/swarm");
    assert_eq!((&swarm["RootRotationInProgress"], &swarm["TLSInfo"]["TrustRoot"]), (&Value::Bool(true), &before["TrustRoot"]));
    let listed = manager.wsw(&["node", "ls", "--format", "{{.TLSStatus}}"]).ok();
    assert_eq!(listed.matches("Needs Rotation").count(), 2, "{listed}");
    // It goes on after a restart of the manager, and a new node joins in the middle of it.
    cluster.manager.kill();
    cluster.manager.restart();
    let late = Cluster::apart();
    cluster.join(&late);
    cluster.workers[0].restart();
    cluster.wait_state(&ids[0], "ready");
    assert_eq!(cluster.manager.json("/swarm")["RootRotationInProgress"], true);
    cluster.manager.wsw(&["node", "rm", &ids[1]]).ok();
    let after = wait_rotated(&cluster.manager, 3);
    assert_ne!(after["TrustRoot"], before["TrustRoot"]);
}

/// The same while one of them is away.
#[track_caller]
fn wait_rotated_but(node: &Node, away: &str) -> Value {
    until("the new root to be believed by all others", || {
        let (swarm, nodes) = (node.json("/swarm"), node.json("/nodes"));
        let mut others = nodes.as_array().expect("it is a list").iter().filter(|node| node["ID"] != away);
        let over = swarm["RootRotationInProgress"] == false && others.all(|node| node["Description"]["TLSInfo"] == swarm["TLSInfo"]);
        if over { Ok(swarm["TLSInfo"].clone()) } else { Err(format!("{} {nodes}", swarm["RootRotationInProgress"])) }
    })
}

#[test]
fn another_leader_finishes_a_rotation() {
    let mut managers = Managers::of(3);
    let worker = Managers::node();
    managers.join(&worker, "worker");
    let before = managers.nodes[0].json("/swarm")["TLSInfo"].clone();
    let leader = managers.leader(0);
    worker.hold(true);
    managers.nodes[leader].wsw(&["swarm", "ca", "--rotate", "-d"]).ok();
    until("the managers to have certificates of the new root", || {
        let (wanted, said) = (managers.nodes[leader].json("/swarm")["TLSInfo"].clone(), said(&managers.nodes[leader]));
        let right = said.iter().filter(|said| said["CertIssuerPublicKey"] == wanted["CertIssuerPublicKey"]).count();
        if right == 3 { Ok(()) } else { Err(format!("{right} of 3")) }
    });
    managers.nodes[leader].kill();
    worker.hold(false);
    let other = managers.others(leader)[0];
    let after = wait_rotated_but(&managers.nodes[other], &managers.ids[leader]);
    assert_ne!(after["TrustRoot"], before["TrustRoot"]);
    // It comes back believing the old root.
    managers.nodes[leader].restart();
    assert_eq!(wait_rotated(&managers.nodes[other], 4), after);
    managers.wait_settled(other, 3);
}
