//! Links that are slow, and full of other things: heartbeats and votes get through, writes too, and nobody is taken for dead.
//!
//! Such a link loses what does not fit, so a heartbeat may have to be sent three times; what counts is that nothing is done about it.

use crate::harness::{Managers, Net, Recorder, guest, image_tar, large_guest, stays, until};
use std::time::Duration;

/// A slow uplink, and what a cheap router before it holds back.
const KBIT: u32 = 2_000;
const QUEUE_MS: u32 = 200;
/// Takes such a link some 15 seconds.
const BYTES: usize = 4 << 20;

/// All are ready, and the same one leads.
fn unmoved(managers: &Managers, leader: usize) -> Result<(), String> {
    let statuses = managers.statuses(leader)?;
    let leads = statuses.get(&managers.ids[leader]).is_some_and(|status| status == "Leader");
    let ready = managers.nodes[leader].json("/nodes").as_array().into_iter().flatten().all(|node| node["Status"]["State"] == "ready");
    if leads && ready { Ok(()) } else { Err(format!("{statuses:?}, all ready: {ready}")) }
}

#[test]
fn an_image_that_fills_a_slow_link_moves_nothing() {
    let Some(net) = Net::of(3) else { return };
    let managers = Managers::on(&net, 3);
    let leader = managers.leader(0);
    let far = managers.others(leader)[0];
    let folder = managers.nodes[leader].folder();
    let archive = image_tar(folder, "large", &large_guest(folder, BYTES, 5));
    managers.nodes[leader].wsw(&["image", "load", "-q", "-i", &archive.to_string_lossy()]).ok();
    net.slow(far, KBIT, QUEUE_MS);
    let place = format!("node.id=={}", managers.ids[far]);
    managers.nodes[leader].wsw(&["service", "create", "-q", "-d", "--name", "large", "--constraint", &place, "large:latest"]).ok();
    let arriving = managers.nodes[far].data_root().join("images/downloads");
    until("the image to be on its way", || {
        let begun = std::fs::read_dir(&arriving).into_iter().flatten().flatten().any(|part| part.metadata().is_ok_and(|data| data.len() > 0));
        if begun { Ok(()) } else { Err(String::new()) }
    });
    let mut looks = 0;
    until("the image to be there", || {
        unmoved(&managers, leader).unwrap_or_else(|moved| panic!("while the image is on its way: {moved}"));
        managers.wait_writes(far, &format!("from-afar{looks}"));
        looks += 1;
        let there = managers.nodes[leader].running("large").len() == 1;
        if there { Ok(()) } else { Err(format!("{looks} looks")) }
    });
    assert!(looks > 3, "it was on its way for long enough to disturb somebody");
    managers.wait_shows(far, "from-afar0");
    managers.wait_settled(leader, 3);
}

#[test]
fn managers_behind_slow_links_write_and_elect() {
    let Some(net) = Net::of(3) else { return };
    let mut managers = Managers::on(&net, 3);
    managers.idle();
    (0..3).for_each(|host| net.slow(host, KBIT / 4, QUEUE_MS));
    let leader = managers.leader(0);
    let recorder = Recorder::start("idle", managers.sockets());
    recorder.goes_on();
    stays("the leader leads on", Duration::from_secs(3), || unmoved(&managers, leader));
    managers.nodes[leader].kill();
    let others = managers.others(leader);
    managers.wait_writes(others[0], "after");
    managers.nodes[leader].restart();
    managers.wait_settled(leader, 3);
    managers.wait_shows(leader, "after");
    recorder.goes_on();
    assert!(recorder.check(&managers.nodes[leader], "idle") > 0);
}

/// At each end of each link, so that a packet meets it twice: 50 ms and one in twenty lost from node to node, some overtaken by later ones, some sent twice.
const ROUGH: &str = "delay 25ms 5ms loss 2.5% duplicate 1% reorder 5%";
/// How often a leader may have thought itself alone meanwhile: what is lost is lost by chance.
const LOST: usize = 2;

/// How often one of them stopped leading.
fn lost(managers: &Managers) -> usize {
    managers.nodes.iter().map(|node| node.log().matches("no longer the leader").count()).sum()
}

#[test]
fn a_cluster_works_on_links_that_lose_delay_double_and_reorder() {
    let Some(net) = Net::of(5) else { return };
    if !net.spoil(0, ROUGH) {
        println!("skipped: this kernel has no netem");
        return;
    }
    net.mend(0);
    let mut managers = Managers::on(&net, 3);
    managers.idle();
    let workers = [3, 4].map(|host| net.node(host, &[]));
    workers.iter().for_each(|worker| managers.join(worker, "worker"));
    let file = guest("tick");
    managers.nodes[0].wsw(&["service", "create", "-d", "--name", "ticks", "--replicas", "2", &file.to_string_lossy()]).ok();
    managers.nodes[0].wait_running("ticks", 2);
    (0..5).for_each(|host| assert!(net.spoil(host, ROUGH)));
    let recorder = Recorder::start("idle", managers.sockets());
    for count in [20, 3, 30] {
        until("a scale to be accepted", || match managers.nodes[1].wsw(&["service", "scale", "-d", &format!("ticks={count}")]) {
            run if run.code == 0 => Ok(()),
            run => Err(run.err),
        });
        managers.nodes[1].wait_running("ticks", count);
        recorder.goes_on();
    }
    // A node whose heartbeats are lost now and then is not taken for dead.
    stays("all nodes are ready", Duration::from_secs(5), || {
        let nodes = managers.nodes[0].json("/nodes");
        let away = nodes.as_array().into_iter().flatten().filter(|node| node["Status"]["State"] != "ready").count();
        if away == 0 { Ok(()) } else { Err(nodes.to_string()) }
    });
    let before = managers.nodes[1].running("ticks");
    let times = lost(&managers);
    assert!(times <= LOST, "{times} leaders gave up while all were there");
    let leader = managers.leader(0);
    managers.nodes[leader].kill();
    let other = managers.others(leader)[0];
    managers.wait_writes(other, "after");
    recorder.goes_on();
    managers.nodes[leader].restart();
    (0..5).for_each(|host| net.mend(host));
    managers.wait_settled(leader, 3);
    managers.wait_shows(leader, "after");
    managers.nodes[other].wait_running("ticks", 30);
    let moved = managers.nodes[other].running("ticks").keys().filter(|task| !before.contains_key(*task)).count();
    assert_eq!(moved, 0, "no task was replaced because links are bad or another leads");
    assert!(recorder.check(&managers.nodes[leader], "idle") > 0);
}
