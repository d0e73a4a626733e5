//! Links that are slow, and full of other things: heartbeats and votes get through, writes too, and nobody is taken for dead.
//!
//! Such a link loses what does not fit, so a heartbeat may have to be sent three times; what counts is that nothing is done about it.

use crate::harness::{Managers, Net, Recorder, image_tar, large_guest, stays, until};
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
