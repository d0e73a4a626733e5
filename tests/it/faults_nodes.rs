//! What befalls a node itself: a full disk, a clock that is stepped, joins at a bad moment, a leader that dies while everything changes.

use crate::harness::{Cluster, Managers, Node, Recorder, Setup, SmallDisk, WAN, guest, image_tar, room, until};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The library that gives a process a clock of its own; `scripts/setup` installs it.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("it is there").flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    folders.into_iter().find(|file| file.is_file()).expect("libfaketime is not on this machine: run scripts/setup")
}

/// A node whose wall clock is what a file says: seconds ahead of the machine's.
fn clocked(file: &Path) -> Node {
    let env = [
        ("LD_PRELOAD", faketime().to_string_lossy().into_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_string_lossy().into_owned()),
        ("FAKETIME_NO_CACHE", "1".into()),
        // Only what says the time of day: a machine whose clock is set goes on counting.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Cluster::apart_of(Setup { flags: WAN.map(str::to_owned).to_vec(), env, ..Setup::default() })
}

/// Sets a clock so many hours ahead.
fn step(file: &Path, hours: i32) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{hours:+}h\n")).unwrap();
    std::fs::rename(beside, file).unwrap();
}

#[test]
fn a_clock_that_is_stepped_moves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clocks: Vec<PathBuf> = (0..3).map(|at| folder.path().join(at.to_string())).collect();
    clocks.iter().for_each(|clock| step(clock, 0));
    let managers = Managers::with(3, |at| clocked(&clocks[at]));
    managers.idle();
    let archive = image_tar(managers.nodes[0].folder(), "tick", &guest("tick"));
    for node in &managers.nodes {
        node.wsw(&["image", "load", "-q", "-i", &archive.to_string_lossy()]).ok();
    }
    managers.nodes[0].wsw(&["service", "create", "--name", "ticking", "--replicas", "6", "--restart-delay", "1h", "tick:latest"]).ok();
    let running = managers.nodes[0].wait_running("ticking", 6);
    let recorder = Recorder::start("idle", managers.sockets());
    let leader = managers.leader(0);
    // The leader's, forwards and back; then a follower's; then all others'.
    let others = managers.others(leader);
    for (at, hours) in [(leader, 1), (leader, -1), (others[0], 1), (others[1], 1), (leader, 0)] {
        step(&clocks[at], hours);
        until("the daemon to show its new time", || {
            let shown = managers.nodes[at].json("/info")["SystemTime"].as_str().unwrap_or_default().to_owned();
            let (shown, now) = (hour_of(&shown), hour_of(&utc()));
            if (shown - now - i64::from(hours)).rem_euclid(24) == 0 { Ok(()) } else { Err(format!("{shown} {now}")) }
        });
        recorder.goes_on();
        managers.wait_writes(others[1], "stepped");
        managers.wait_settled(others[0], 3);
        assert_eq!(managers.leader(others[0]), leader, "nobody else was elected for that");
    }
    assert_eq!(managers.nodes[0].running("ticking"), running, "no task was replaced");
    assert_eq!(managers.nodes[0].tasks("ticking").len(), 6);
    assert!(recorder.check(&managers.nodes[1], "idle") > 0);
}

/// The hour of an RFC 3339 time.
fn hour_of(time: &str) -> i64 {
    time.split('T').nth(1).and_then(|rest| rest.get(..2)).and_then(|hour| hour.parse().ok()).unwrap_or(-100)
}

fn utc() -> String {
    let said = std::process::Command::new("date").args(["-u", "+%FT%TZ"]).output().expect("date is there");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn a_manager_with_a_full_disk_gives_the_lead_up_and_comes_back_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else { return };
    let small = disk.path().join("d");
    let managers = Managers::with(3, |at| {
        let flags = WAN.map(str::to_owned).to_vec();
        Cluster::apart_of(Setup { flags, data_root: (at == 0).then(|| small.clone()), ..Setup::default() })
    });
    managers.idle();
    let archive = image_tar(managers.nodes[0].folder(), "tick", &guest("tick"));
    managers.nodes[0].wsw(&["image", "load", "-q", "-i", &archive.to_string_lossy()]).ok();
    managers.nodes[0].wsw(&["service", "create", "--name", "ticking", "--mode", "global", "tick:latest"]).ok();
    let running = managers.nodes[0].wait_running("ticking", 3);
    assert_eq!(managers.leader(1), 0);
    let recorder = Recorder::start("idle", managers.sockets());
    let filler = disk.fill();
    until("another one to lead", || match managers.leader(1) {
        0 => Err("it still leads".into()),
        other => Ok(other),
    });
    managers.wait_writes(1, "full");
    managers.wait_writes(2, "full");
    recorder.goes_on();
    assert_eq!(managers.nodes[0].local().len(), 1, "its own task goes on");
    assert_eq!(managers.nodes[1].running("ticking"), running);
    std::fs::remove_file(filler).unwrap();
    managers.wait_settled(1, 3);
    managers.wait_writes(0, "room");
    assert!(managers.shows(0, "full") && managers.shows(1, "room"));
    assert!(recorder.check(&managers.nodes[0], "idle") > 0);
}

#[test]
fn nodes_join_while_a_leader_is_elected_and_all_at_once() {
    let _room = room(24);
    let mut managers = Managers::of(3);
    let token = managers.nodes[0].wsw(&["swarm", "join-token", "-q", "worker"]).ok().trim().to_owned();
    let remotes: Vec<String> = managers.nodes.iter().map(Node::remote).collect();
    let nodes: Vec<Node> = (0..21).map(|_| Managers::node()).collect();
    let leader = managers.leader(0);
    let others = managers.others(leader);
    // The manager that is asked has no leader to pass the join on to: it waits for the next one.
    managers.nodes[leader].kill();
    let said = nodes[20].wsw(&["swarm", "join", "--token", &token, &remotes[others[0]]]).ok();
    assert_eq!(said, "This node joined a swarm as a worker.\n");
    managers.nodes[leader].restart();
    std::thread::scope(|scope| {
        for (at, node) in nodes[..20].iter().enumerate() {
            let (token, remote) = (&token, &remotes[at % 3]);
            scope.spawn(move || node.wsw(&["swarm", "join", "--token", token, remote]).ok());
        }
    });
    until("all of them to be ready", || {
        let found = managers.nodes[others[0]].json("/nodes");
        let ready = found.as_array().into_iter().flatten().filter(|node| node["Status"]["State"] == "ready").count();
        let all = found.as_array().map_or(0, Vec::len);
        if (ready, all) == (24, 24) { Ok(()) } else { Err(format!("{ready} of {all}")) }
    });
    let ids: BTreeSet<String> = nodes.iter().map(Node::id).collect();
    assert_eq!(ids.len(), 21, "each is a node of its own");
    managers.wait_settled(others[1], 3);
}

#[test]
fn scaling_up_and_down_goes_on_while_leaders_die() {
    let mut managers = Managers::of(3);
    let archive = image_tar(managers.nodes[0].folder(), "tick", &guest("tick"));
    for node in &managers.nodes {
        node.wsw(&["image", "load", "-q", "-i", &archive.to_string_lossy()]).ok();
    }
    managers.nodes[0].wsw(&["swarm", "update", "--dispatcher-heartbeat", "20s"]).ok();
    managers.nodes[0].wsw(&["service", "create", "-d", "--name", "ticking", "--replicas", "0", "tick:latest"]).ok();
    for round in 0..10 {
        let leader = managers.leader(round % 3);
        let other = managers.others(leader)[0];
        let replicas = if round % 2 == 0 { 200 } else { 0 };
        scale(&managers.nodes[leader], replicas);
        // In the middle of it.
        managers.nodes[leader].kill();
        managers.wait_writes(other, "killed");
        managers.nodes[leader].restart();
    }
    let at = managers.leader(0);
    scale(&managers.nodes[at], 200);
    let running = managers.nodes[at].wait_running("ticking", 200);
    let real = || managers.nodes.iter().flat_map(Node::local).collect::<BTreeSet<String>>();
    until("each node to run what the state says, and nothing else", || {
        let real = real();
        if real.iter().eq(running.keys()) { Ok(()) } else { Err(format!("{} of {}", real.len(), running.len())) }
    });
    // One runnable task in each slot.
    let tasks = managers.nodes[at].tasks("ticking");
    let slots: Vec<i64> = tasks.iter().filter(|task| task["DesiredState"] == "running").filter_map(|task| task["Slot"].as_i64()).collect();
    assert_eq!((slots.len(), slots.iter().collect::<BTreeSet<_>>().len()), (200, 200));
    scale(&managers.nodes[at], 0);
    until("all to end", || if real().is_empty() { Ok(()) } else { Err(format!("{} run", real().len())) });
    managers.wait_settled(at, 3);
}

/// Until it is carried out: a leader may die meanwhile.
fn scale(at: &Node, replicas: usize) {
    until(&format!("the scale to {replicas} to be taken"), || {
        let said = at.wsw(&["service", "scale", "-d", &format!("ticking={replicas}")]);
        if said.code == 0 { Ok(()) } else { Err(said.to_string()) }
    });
}
