//! Several managers: each reads and writes, and the loss of a minority, of the leader, of a majority and of all of them heals by itself.

use crate::harness::{Managers, Recorder, guest, load_everywhere, until};

#[test]
fn every_manager_reads_and_writes_and_the_next_one_leads_when_the_leader_dies() {
    let mut managers = Managers::of(3);
    managers.idle();
    for at in 0..3 {
        managers.wait_settled(at, 3);
        // What one acknowledged the next one shows at once.
        managers.wait_writes(at, &format!("l{at}"));
        assert!(managers.shows((at + 1) % 3, &format!("l{at}")));
    }
    let recorder = Recorder::start("idle", managers.sockets());
    for round in 0..3 {
        let leader = managers.leader(round);
        managers.nodes[leader].kill();
        let other = managers.others(leader)[0];
        managers.wait_writes(other, &format!("k{round}"));
        let next = managers.leader(other);
        assert_ne!(next, leader);
        until("the dead one to be unreachable", || {
            let statuses = managers.statuses(other)?;
            if statuses[&managers.ids[leader]] == "Unreachable" { Ok(()) } else { Err(format!("{statuses:?}")) }
        });
        managers.nodes[leader].restart();
        managers.wait_settled(leader, 3);
        assert!(managers.shows(leader, &format!("k{round}")), "it has caught up");
    }
    assert!(recorder.check(&managers.nodes[1], "idle") > 0);
}

#[test]
fn all_managers_killed_together_lose_nothing_that_was_acknowledged() {
    let mut managers = Managers::of(3);
    managers.idle();
    let recorder = Recorder::start("idle", managers.sockets());
    for round in 0..2 {
        managers.wait_writes(round, &format!("a{round}"));
        for node in &mut managers.nodes {
            node.kill();
        }
        for node in &mut managers.nodes {
            node.restart();
        }
        managers.wait_writes(2, &format!("b{round}"));
        assert!(managers.shows(0, &format!("a{round}")) && managers.shows(1, &format!("b{round}")));
    }
    managers.wait_settled(0, 3);
    assert!(recorder.check(&managers.nodes[0], "idle") > 0);
}

#[test]
fn a_leader_that_is_held_and_goes_on_evicts_nobody() {
    let managers = Managers::of(3);
    managers.idle();
    let recorder = Recorder::start("idle", managers.sockets()[1..].to_vec());
    let leader = managers.leader(0);
    let others = managers.others(leader);
    managers.nodes[leader].hold(true);
    managers.wait_writes(others[0], "held");
    let next = managers.leader(others[1]);
    managers.nodes[leader].hold(false);
    managers.wait_settled(leader, 3);
    assert!(managers.shows(leader, "held"));
    assert_eq!(managers.leader(leader), next, "the one that was held follows");
    assert!(recorder.check(&managers.nodes[leader], "idle") > 0);
}

#[test]
fn without_a_majority_reads_go_on_and_writes_say_why() {
    let mut managers = Managers::of(3);
    managers.wait_writes(0, "before");
    managers.nodes[1].kill();
    managers.nodes[2].kill();
    let refused = until("writes to be refused", || {
        let done = managers.nodes[0].wsw(&["node", "update", "--label-add", "lost=yes", &managers.ids[0]]);
        if done.code == 0 || !done.err.contains("does not have a leader") { Err(format!("{done}")) } else { Ok(done.err) }
    });
    assert!(refused.contains("The swarm does not have a leader. It's possible that too few managers are online."), "{refused}");
    let statuses = managers.statuses(0).unwrap();
    let mut shown: Vec<&str> = statuses.values().map(String::as_str).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["Reachable", "Unreachable", "Unreachable"], "nobody leads");
    assert!(managers.shows(0, "before"));
    managers.nodes[1].restart();
    managers.wait_writes(0, "after");
    managers.wait_writes(1, "after");
    managers.nodes[2].restart();
    managers.wait_settled(2, 3);
    assert!(managers.shows(2, "after"));
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over() {
    let mut managers = Managers::of(3);
    let leader = managers.leader(0);
    let others = managers.others(leader);
    assert_eq!(managers.nodes[leader].terminate(), Some(0));
    managers.wait_writes(others[0], "over");
    assert!(!managers.nodes[leader].log().contains("an election decides who leads next"), "it was handed over");
    managers.nodes[leader].restart();
    managers.wait_settled(leader, 3);
}

#[test]
fn a_worker_finds_the_next_leader_and_its_tasks_notice_nothing() {
    let mut managers = Managers::of(3);
    let worker = Managers::node();
    managers.join(&worker, "worker");
    load_everywhere(managers.nodes.iter().chain([&worker]), "tick", &guest("tick"));
    managers.nodes[0].wsw(&["service", "create", "--name", "ticking", "--mode", "global", "tick:latest"]).ok();
    let running = managers.nodes[0].wait_running("ticking", 4);
    for _ in 0..2 {
        let leader = managers.leader(0);
        managers.nodes[leader].kill();
        let other = managers.others(leader)[0];
        until("the worker to be ready at the next leader", || {
            let found = managers.nodes[other].json("/nodes");
            let state = found.as_array().into_iter().flatten().find(|node| node["ID"] == worker.id().as_str()).map(|node| node["Status"]["State"].clone());
            let next = managers.leader(other);
            if next != leader && state == Some("ready".into()) { Ok(()) } else { Err(format!("{state:?}, {next} leads")) }
        });
        managers.nodes[leader].restart();
        managers.wait_settled(leader, 3);
    }
    assert_eq!(managers.nodes[0].wait_running("ticking", 4).keys().collect::<Vec<_>>(), running.keys().collect::<Vec<_>>(), "no task was replaced");
}
