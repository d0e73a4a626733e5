//! Cuts between managers, which are in network namespaces of their own: while they last one side works, and when they end all do, by themselves.
//! Clients write throughout; nothing that was acknowledged is lost.

use crate::harness::{Managers, Net, Recorder, until};

/// Who leads, as one of them says, once it is one of these.
#[track_caller]
fn led_by(managers: &Managers, at: usize, those: &[usize]) -> usize {
    until(&format!("one of {those:?} to lead as {at} says"), || {
        let statuses = managers.statuses(at)?;
        let leads = |place: &&usize| statuses.get(&managers.ids[**place]).is_some_and(|status| status == "Leader");
        those.iter().find(leads).copied().ok_or_else(|| format!("{statuses:?}"))
    })
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_follows_when_it_is_back() {
    let Some(net) = Net::of(3) else { return };
    let managers = Managers::on(&net, 3);
    managers.idle();
    let recorder = Recorder::start("idle", managers.sockets());
    for round in 0..2 {
        let leader = managers.leader(round);
        let others = managers.others(leader);
        net.isolate(leader);
        let next = led_by(&managers, others[0], &others);
        managers.wait_writes(others[1], &format!("cut{round}"));
        let said = managers.nodes[leader].wsw(&["node", "update", "--label-add", "lost=yes", &managers.ids[0]]).failed();
        assert!(said.contains("does not have a leader") || said.contains("unknown"), "{said}");
        assert!(!managers.shows(leader, &format!("cut{round}")), "it answers reads with what it has");
        net.heal();
        managers.wait_settled(leader, 3);
        assert!(managers.shows(leader, &format!("cut{round}")));
        assert_eq!(managers.leader(leader), next, "it comes back without an election");
    }
    recorder.goes_on();
    assert!(recorder.check(&managers.nodes[1], "idle") > 0);
}

/// Cuts all ways but these.
fn leave(net: &Net, ways: &[(usize, usize)]) {
    for one in 0..net.hosts.len() {
        for other in one + 1..net.hosts.len() {
            if !ways.contains(&(one, other)) && !ways.contains(&(other, one)) {
                net.cut(one, other);
            }
        }
    }
}

#[test]
fn five_managers_survive_the_cuts_that_leave_a_bridge() {
    let Some(net) = Net::of(5) else { return };
    let managers = Managers::on(&net, 5);
    managers.idle();
    let recorder = Recorder::start("idle", managers.sockets());
    // A minority with the leader in it, and back.
    let leader = managers.leader(0);
    let others = managers.others(leader);
    net.part(&[leader, others[0]], &others[1..]);
    led_by(&managers, others[2], &others[1..]);
    managers.wait_writes(others[3], "minority");
    net.heal();
    managers.wait_settled(leader, 5);
    managers.wait_shows(others[0], "minority");
    // openraft's issue 2080: the leader keeps only the bridge, which is one of a majority that must not wait for it for ever.
    let leader = managers.leader(0);
    let [bridge, one, other, _alone] = managers.others(leader)[..] else { panic!("there are five") };
    leave(&net, &[(leader, bridge), (bridge, one), (bridge, other), (one, other)]);
    led_by(&managers, one, &[bridge, one, other]);
    for at in [bridge, one, other] {
        managers.wait_writes(at, &format!("b{at}"));
    }
    net.heal();
    managers.wait_settled(leader, 5);
    // Only the bridge hears a majority.
    let leader = managers.leader(0);
    let others = managers.others(leader);
    let bridge = others[0];
    leave(&net, &(0..5).map(|at| (bridge, at)).collect::<Vec<_>>());
    led_by(&managers, bridge, &[bridge]);
    for (at, label) in [(bridge, "bridge"), (others[1], "far"), (leader, "old")] {
        managers.wait_writes(at, label);
    }
    net.heal();
    managers.wait_settled(leader, 5);
    recorder.goes_on();
    assert!(recorder.check(&managers.nodes[leader], "idle") > 0);
}

#[test]
fn one_direction_alone_is_cut() {
    let Some(net) = Net::of(3) else { return };
    let managers = Managers::on(&net, 3);
    managers.idle();
    let recorder = Recorder::start("idle", managers.sockets());
    // What the leader sends reaches nobody, and it hears all: another one leads.
    let leader = managers.leader(0);
    let others = managers.others(leader);
    others.iter().for_each(|other| net.cut_from_to(leader, *other));
    led_by(&managers, others[0], &others);
    managers.wait_writes(others[1], "mute");
    net.heal();
    managers.wait_settled(leader, 3);
    // The leader hears nobody, and all hear it.
    let leader = managers.leader(0);
    let others = managers.others(leader);
    others.iter().for_each(|other| net.cut_from_to(*other, leader));
    led_by(&managers, others[0], &others);
    managers.wait_writes(others[1], "deaf");
    net.heal();
    managers.wait_settled(leader, 3);
    // One follower does not hear the leader, but is heard: it may not keep the others from working, and works itself through them or says why not.
    let leader = managers.leader(0);
    let others = managers.others(leader);
    net.cut_from_to(leader, others[0]);
    managers.wait_writes(others[1], "half");
    managers.wait_writes(others[1], "again");
    net.heal();
    managers.wait_settled(others[0], 3);
    managers.wait_shows(others[0], "again");
    recorder.goes_on();
    assert!(recorder.check(&managers.nodes[0], "idle") > 0);
}
