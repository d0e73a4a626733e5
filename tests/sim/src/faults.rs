//! Faults: which, when and for how long, as the seed has it.
//!
//! Owns: the phase in which things go wrong. To add one: a variant of `Fault`, its weight in `chosen`, its beginning in `World::begin_fault` and,
//! if it has one, its end in `World::end_fault`. Invariant: whatever one leaves is undone by `World::heal`.

use crate::chance;
use crate::cluster::World;
use crate::operator;
use crate::plant::Plant;
use crate::trace::event;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use wsw_manager::Start;

/// What goes wrong.
#[derive(Debug, Clone)]
enum Fault {
    /// A host's manager is killed; its disk loses what was not synced.
    Kill(usize),
    /// The power of a host fails in the middle of some write.
    Power(usize, u64),
    /// All managers at once.
    KillAll,
    /// The leader is killed, and the power of another fails as it votes.
    Election(usize, usize, u64),
    /// The leader, or whoever, stops in good order.
    Stop(usize),
    /// A worker's process dies.
    KillWorker(usize),
    /// Nothing passes between a host and all others.
    Isolate(usize),
    /// Nothing passes from one to another; the other way all is well.
    OneWay(usize, usize),
    /// Two halves that only a host between them reaches.
    Bridge(usize),
    /// Two parts that do not hear each other.
    Split(u64),
    /// Everything from and to a host is slow.
    Slow(usize),
    /// A disk is slow.
    SlowDisk(usize),
    /// A disk is full but for so many bytes; others take what its manager gives up, or do not.
    FullDisk(usize, u64, bool),
    Role,
    Availability,
}

/// Things go wrong for so long.
pub async fn play(world: &mut World, length: Duration) {
    let until = Instant::now() + length;
    let mut open: Vec<(Instant, Fault)> = Vec::new();
    let mut next = Instant::now() + chance::millis(100, 2_000);
    while Instant::now() < until {
        sleep(Duration::from_millis(50)).await;
        operator::follow_roles(world);
        let now = Instant::now();
        let (over, rest) = open.into_iter().partition(|(end, _)| *end <= now);
        open = rest;
        let over: Vec<(Instant, Fault)> = over;
        over.into_iter().for_each(|(_, fault)| world.end_fault(&fault));
        if now >= next {
            let fault = chosen(world);
            event!(world.common.trace, "fault: {fault:?}");
            world.begin_fault(&fault).await;
            open.push((now + chance::millis(300, 5_000), fault));
            next = now + chance::millis(100, 2_500);
        }
        if world.common.checks.offence().is_some() {
            return;
        }
    }
}

fn chosen(world: &World) -> Fault {
    let any = chance::below(world.hosts.len());
    let managers: Vec<usize> = world.hosts.iter().filter(|host| host.is_up()).map(|host| host.number).collect();
    let leader = managers.iter().copied().find(|host| world.common.net.door(*host).is_some_and(|door| door.manager.leads()));
    // The leader is where things go wrong most.
    let manager = leader.filter(|_| chance::below(2) == 0).or_else(|| chance::one(&managers)).unwrap_or(any);
    if world.common.plant == Some(Plant::VotesUnsynced) && chance::below(2) == 0 {
        return Fault::Election(manager, chance::one(&managers).unwrap_or(any), chance::next() % 4);
    }
    match chance::below(100) {
        0..18 => Fault::Kill(manager),
        18..27 => Fault::Power(manager, chance::next() % 60),
        27..31 => Fault::Election(manager, chance::one(&managers).unwrap_or(any), chance::next() % 4),
        31..34 => Fault::KillAll,
        34..40 => Fault::Stop(manager),
        40..48 => Fault::KillWorker(any),
        48..58 => Fault::Isolate(if chance::below(3) == 0 { any } else { manager }),
        58..66 => Fault::OneWay(manager, chance::one(&managers).unwrap_or(any)),
        66..70 => Fault::Bridge(manager),
        70..76 => Fault::Split(chance::next()),
        76..82 => Fault::Slow(any),
        82..86 => Fault::SlowDisk(manager),
        86..92 => Fault::FullDisk(manager, chance::next() % 4_096, chance::below(2) == 0),
        92..97 => Fault::Role,
        _ => Fault::Availability,
    }
}

impl World {
    async fn begin_fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(host) => self.hosts[*host].kill(),
            Fault::Power(host, calls) => self.hosts[*host].disk.set_fuse(*calls),
            Fault::Election(host, voter, calls) => {
                self.hosts[*voter].disk.set_vote_fuse(*calls);
                self.hosts[*host].kill();
            }
            Fault::KillAll => self.hosts.iter_mut().for_each(crate::host::Host::kill),
            Fault::Stop(host) => self.hosts[*host].stop().await,
            Fault::KillWorker(host) => self.workers[*host].kill(),
            Fault::SlowDisk(host) => self.hosts[*host].disk.set_slow(true),
            Fault::FullDisk(host, left, taken) => self.hosts[*host].disk.fill(*left, *taken),
            Fault::Role => operator::change_role(self).await,
            Fault::Availability => operator::change_availability(self, false).await,
            Fault::Slow(host) => self.slow(*host, (20, 300)),
            Fault::Isolate(_) | Fault::OneWay(..) | Fault::Bridge(_) | Fault::Split(_) => self.cut(fault, true),
        }
    }

    fn end_fault(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(_) | Fault::KillAll | Fault::Power(..) | Fault::Election(..) | Fault::Stop(_) => {
                for host in self.hosts.iter_mut().filter(|host| !host.is_up()) {
                    host.kill();
                    host.start(Start::Again);
                }
            }
            Fault::KillWorker(host) if self.workers[*host].running.is_none() => self.workers[*host].start(),
            Fault::KillWorker(_) | Fault::Role | Fault::Availability => {}
            Fault::SlowDisk(host) => self.hosts[*host].disk.set_slow(false),
            Fault::FullDisk(host, ..) => self.hosts[*host].disk.make_room(),
            Fault::Slow(host) => self.slow(*host, (0, 4)),
            Fault::Isolate(_) | Fault::OneWay(..) | Fault::Bridge(_) | Fault::Split(_) => self.cut(fault, false),
        }
    }

    fn slow(&self, host: usize, range: (u64, u64)) {
        for other in 0..self.hosts.len() {
            self.common.net.slow(host, other, range);
            self.common.net.slow(other, host, range);
        }
    }

    /// Cuts what the fault cuts, or lets it pass again.
    fn cut(&self, fault: &Fault, cut: bool) {
        let side = |host: usize, bits: u64| bits >> (host % 64) & 1;
        for from in 0..self.hosts.len() {
            for to in (0..self.hosts.len()).filter(|to| *to != from) {
                let hit = match fault {
                    Fault::Isolate(host) => from == *host || to == *host,
                    Fault::OneWay(one, other) => (from, to) == (*one, *other),
                    Fault::Bridge(between) => from != *between && to != *between && side(from, 0b1010_1010_1010) != side(to, 0b1010_1010_1010),
                    Fault::Split(bits) => side(from, *bits) != side(to, *bits),
                    _ => false,
                };
                if hit {
                    self.common.net.cut(from, to, cut);
                }
            }
        }
    }
}
