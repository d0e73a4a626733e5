//! Certificates of nodes: renewed before they end, and those that open nothing. The cluster has a root of the test's own, so any certificate can be made.

use crate::harness::forge::{Claim, Forge, identity_file, identity_text, validity};
use crate::harness::stranger::{Said, Stranger};
use crate::harness::{Cluster, Node, guest, until};
use std::net::SocketAddr;
use time::{Duration, OffsetDateTime};
use wsw_net::{Error, Protocol};

/// What is left of a short certificate.
const LIFE: Duration = Duration::seconds(100);

/// A cluster with the root of a test, and one worker.
fn given() -> (Forge, Cluster) {
    let (forge, cluster) = (Forge::new(400), Cluster::of(1));
    forge.give(&cluster.manager);
    (forge, cluster)
}

/// Gives a node that does not run this certificate.
fn put(forge: &Forge, node: &Node, claim: &Claim) -> String {
    let certificate = forge.certify(claim, &identity_text(node, "node.key"));
    std::fs::write(identity_file(node, "node.crt"), &certificate).expect("the folder is ours");
    certificate
}

#[test]
fn a_node_renews_its_certificate_in_time_and_its_connections_go_on() {
    let (forge, mut cluster) = given();
    cluster.load_everywhere("tick", &guest("tick"));
    cluster.manager.wsw(&["service", "create", "-d", "--name", "t", "--mode", "global", "tick"]).ok();
    let running = cluster.manager.wait_running("t", 2);
    let claims = [(&cluster.manager, "swarm-manager"), (&cluster.workers[0], "swarm-worker")].map(|(node, role)| Claim::of(node, role));
    let id = cluster.workers[0].id();
    cluster.manager.wsw(&["swarm", "update", "--cert-expiry", "30h"]).ok();
    // What of it was not dated back is 150 s, of which 50 are over: it is due in 25 to 70 s.
    let brief = |claim: &Claim| Claim { from: -Duration::seconds(200), until: LIFE, ..claim.clone() };
    cluster.manager.terminate();
    cluster.workers[0].terminate();
    let ends = OffsetDateTime::now_utc() + LIFE;
    let before = [put(&forge, &cluster.manager, &brief(&claims[0])), put(&forge, &cluster.workers[0], &brief(&claims[1]))];
    cluster.workers[0].restart();
    cluster.restart_manager(&[&id]);
    let sessions = cluster.sessions(&id);
    for (node, before) in [&cluster.manager, &cluster.workers[0]].into_iter().zip(&before) {
        until("a new certificate", || if identity_text(node, "node.crt") == *before { Err("it has the old one".to_owned()) } else { Ok(()) });
        let left = validity(node).1 - OffsetDateTime::now_utc();
        assert!(left > Duration::hours(29) && left <= Duration::hours(30), "the cluster's setting counts: {left}");
        assert!(node.log().contains("renewing certificate"), "it is told");
    }
    // The session was begun with the old certificate and goes on when that has ended.
    until("the old certificates to end", || {
        let left = ends + Duration::seconds(3) - OffsetDateTime::now_utc();
        if left.is_positive() { Err(left.to_string()) } else { Ok(()) }
    });
    cluster.wait_states(&["ready"], 2);
    assert_eq!(cluster.sessions(&id), sessions);
    assert!(running.keys().all(|task| cluster.manager.running("t").contains_key(task)));
}

#[test]
fn a_certificate_that_expired_while_its_node_was_off_is_said() {
    let (forge, mut cluster) = given();
    cluster.load_everywhere("tick", &guest("tick"));
    cluster.manager.wsw(&["service", "create", "-d", "--name", "t", "--mode", "global", "tick"]).ok();
    cluster.manager.wait_running("t", 2);
    let claim = Claim::of(&cluster.workers[0], "swarm-worker");
    let id = cluster.workers[0].id();
    cluster.workers[0].terminate();
    put(&forge, &cluster.workers[0], &Claim { from: -Duration::hours(3), until: -Duration::hours(1), ..claim });
    cluster.workers[0].restart();
    let node = &cluster.workers[0];
    let info = node.json("/info");
    assert_eq!(info["Swarm"]["LocalNodeState"], "error");
    assert_eq!(info["Swarm"]["Error"], "Swarm certificates have expired. To replace them, leave the swarm and join again.");
    assert!(node.log().contains("Swarm certificates have expired"));
    cluster.wait_state(&id, "down");
    // What it runs goes on; and what was said helps.
    assert_eq!(node.local().len(), 1);
    node.wsw(&["swarm", "leave"]).ok();
    cluster.join(node);
    cluster.manager.wsw(&["node", "rm", &id]).ok();
    cluster.wait_states(&["ready"], 2);
    cluster.manager.wait_running("t", 2);
}

const KINDS: [Protocol; 5] = [Protocol::Session, Protocol::Blob, Protocol::Relay, Protocol::Logs, Protocol::Raft];

#[test]
fn certificates_that_are_not_valid_open_nothing() {
    let (forge, cluster) = given();
    let (manager, worker) = (&cluster.manager, &cluster.workers[0]);
    let key = identity_text(worker, "node.key");
    let own = Claim::of(worker, "swarm-worker");
    let from = worker.addr();
    let stranger = |forge: &Forge, claim: &Claim| Stranger::new(&forge.pem, &forge.certify(claim, &key), &key, from);
    let hours = Duration::hours;
    let (other, alien) = (Cluster::of(0), Forge::new(400));
    let elsewhere = Claim::of(&other.manager, "swarm-manager");
    for (what, claim) in [
        ("expired", Claim { from: -hours(3), until: -hours(1), ..own.clone() }),
        ("not yet valid", Claim { from: hours(1), until: hours(3), ..own.clone() }),
        ("another cluster's", Claim { cluster: elsewhere.cluster.clone(), ..own.clone() }),
        ("another cluster's manager", elsewhere.clone()),
        ("a node that never was", Claim { node: elsewhere.node, ..own.clone() }),
    ] {
        let stranger = stranger(&forge, &claim);
        for kind in KINDS {
            let said = stranger.ask(manager, kind);
            assert!(said.is_err(), "{what} certificate, {}: {said:?}", kind.name());
        }
    }
    // The same names of another root.
    let stranger_of = Stranger::new(&forge.pem, &alien.certify(&own, &key), &key, from);
    assert!(KINDS.iter().all(|kind| stranger_of.ask(manager, *kind).is_err()));
    // A worker's certificate: no Raft, no logs of others; and a manager's does not make a manager of a worker.
    let as_worker = stranger(&forge, &own);
    let as_manager = stranger(&forge, &Claim { role: "swarm-manager", ..own });
    let refused = |said: Said, words: &str| assert!(matches!(&said, Err(Error::Refused(reason)) if reason.contains(words)), "{words}: {said:?}");
    refused(as_worker.ask(manager, Protocol::Raft), "a manager's certificate is needed");
    refused(as_manager.ask(manager, Protocol::Raft), "this node is not a manager of the swarm any more");
    for stranger in [&as_worker, &as_manager] {
        refused(stranger.ask(manager, Protocol::Logs), "only managers read the logs of other nodes");
    }
    cluster.wait_states(&["ready"], 2);
}

#[test]
fn a_removed_node_has_nothing_left() {
    let (forge, cluster) = given();
    let late = Cluster::apart();
    cluster.join(&late);
    cluster.wait_states(&["ready"], 3);
    let (claim, id) = (Claim::of(&late, "swarm-worker"), late.id());
    let key = identity_text(&late, "node.key");
    let mut late = late;
    late.kill();
    cluster.wait_state(&id, "down");
    cluster.manager.wsw(&["node", "rm", &id]).ok();
    let gone = Stranger::new(&forge.pem, &forge.certify(&claim, &key), &key, late.addr());
    for kind in KINDS {
        let said = gone.ask(&cluster.manager, kind);
        assert!(matches!(said, Err(Error::Refused(_))), "{}: {said:?}", kind.name());
    }
    // Workers hear of it, too.
    until("a worker to refuse it", || {
        let said: Vec<Said> = [Protocol::Blob, Protocol::Relay, Protocol::Logs].into_iter().map(|kind| gone.ask(&cluster.workers[0], kind)).collect();
        if said.iter().all(|said| matches!(said, Err(Error::Refused(reason)) if reason.contains("removed"))) { Ok(()) } else { Err(format!("{said:?}")) }
    });
    // Nor does it get a new certificate.
    late.restart();
    until("the removed node to hear of it", || {
        let info = late.json("/info");
        if info["Swarm"]["Error"].as_str().is_some_and(|said| said.contains("removed")) { Ok(()) } else { Err(info["Swarm"].to_string()) }
    });
    assert_eq!(cluster.states().len(), 2);
}

#[test]
fn a_flood_of_strangers_does_not_disturb_the_cluster() {
    let cluster = Cluster::of(1);
    // The strangers take this machine's cores from everybody alike.
    cluster.manager.wsw(&["swarm", "update", "--dispatcher-heartbeat", "5s"]).ok();
    let id = cluster.workers[0].id();
    let sessions = cluster.sessions(&id);
    let at: SocketAddr = cluster.manager.remote().parse().expect("it is an address");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("there are threads");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let stopped = stopped.clone();
            runtime.spawn(async move {
                let mut tried = 0_u64;
                while !*stopped.borrow() {
                    let dialled = wsw_net::dial_unknown(at, std::sync::Arc::new(|_: &[u8; 32]| true));
                    if let Ok(Ok((connection, _))) = tokio::time::timeout(std::time::Duration::from_secs(5), dialled).await {
                        drop(connection.open().await);
                    }
                    tried += 1;
                }
                tried
            })
        })
        .collect();
    let joiner = Cluster::apart();
    for number in 0..20 {
        cluster.manager.wsw(&["node", "update", "--label-add", &format!("n={number}"), &id]).ok();
    }
    until("a node to join in between", || {
        let said = joiner.wsw(&["swarm", "join", "--token", &cluster.token("worker"), &cluster.manager.remote()]);
        if said.code == 0 || said.err.contains("already part of a swarm") { Ok(()) } else { Err(said.err) }
    });
    cluster.wait_states(&["ready"], 2 + 1);
    stop.send_replace(true);
    let tried: u64 = flood.into_iter().map(|one| runtime.block_on(one).expect("it does not panic")).sum();
    assert!(tried > 100, "{tried} connections were tried");
    assert_eq!(cluster.sessions(&id), sessions, "no session ended");
    assert_eq!(cluster.states().len(), 3);
}
