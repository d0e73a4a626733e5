//! A minute of deaths at random, of the daemon and of shims, while clients count: no answer is wrong, and none is lost but those in flight.

use crate::harness::{self, Failure, Load, Node, free_tcp_port, guest, shims_below, until};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::time::{Duration, Instant};

const FOR: Duration = Duration::from_secs(60);
const CLIENTS: usize = 4;

/// What was killed, and from when to when a request could suffer by it.
#[derive(Debug)]
struct Death {
    what: String,
    from: Instant,
    to: Instant,
}

impl Death {
    fn excuses(&self, failure: &Failure) -> bool {
        failure.begun <= self.to && failure.ended >= self.from
    }
}

/// A small generator (Knuth's MMIX numbers): the seed is shown when the test fails.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Out of reach from the kill until the port answers again.
fn kill_daemon(node: &mut Node, port: u16, chance: &mut Chance) -> Death {
    let from = Instant::now();
    node.kill();
    harness::stays("a while without a daemon", Duration::from_millis(chance.below(300)), || Ok(()));
    node.restart();
    until("the port to be served again", || harness::get(port, "/"));
    Death { what: "daemon".into(), from, to: Instant::now() }
}

/// Only what is in it at this moment goes with a shim: there are others.
fn kill_shim(node: &Node, chance: &mut Chance) -> Option<Death> {
    let shims = shims_below(node.folder());
    let pid = *shims.get(chance.below(shims.len().max(1) as u64) as usize)?;
    let from = Instant::now();
    // It may have ended by itself.
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    pidfd_send_signal(&process, Signal::KILL).ok()?;
    // A thread dies when it is next scheduled: until the last has, one may take a connection.
    poll(&mut [PollFd::new(&process, PollFlags::IN)], None).expect("a process that was killed ends");
    Some(Death { what: format!("shim {pid}"), from, to: Instant::now() })
}

#[test]
fn a_minute_of_deaths() {
    let mut node = Node::swarm();
    let port = free_tcp_port();
    let publish = format!("{port}:80");
    let hello = guest("hello_http").to_string_lossy().into_owned();
    let mut words = vec!["service", "create", "--name", "hello", "--replicas", "3", "--restart-delay", "0s", "-p", &publish];
    words.extend(["--container-label", "wsw.wasm.group=own", &hello]);
    node.wsw(&words).ok();

    let seed = std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("CHAOS_SEED={seed}");
    let mut chance = Chance(seed);
    let load = Load::start(port, "/", CLIENTS, |body| body.starts_with("Hello from hello.") && body.ends_with("!\n"));
    let (begun, mut deaths) = (Instant::now(), Vec::new());
    while begun.elapsed() < FOR {
        if chance.below(3) == 0 {
            deaths.push(kill_daemon(&mut node, port, &mut chance));
        } else {
            // One death at a time: with all shims dead there is nobody to answer, and that is no loss of ours.
            node.wait_running("hello", 3);
            deaths.extend(kill_shim(&node, &mut chance));
        }
        let answered = load.answered();
        until("requests to be answered after it", || if load.answered() > answered { Ok(()) } else { Err(answered.to_string()) });
        harness::stays("a while of peace", Duration::from_millis(chance.below(700)), || Ok(()));
    }
    node.wait_running("hello", 3);
    let (answered, failures) = load.end();
    let lost = failures.iter().filter(|failure| !deaths.iter().any(|death| death.excuses(failure)));
    let lost: Vec<_> = lost.map(|failure| format!("{:?} after the start, {}", failure.begun - begun, failure.error)).collect();
    eprintln!("{answered} answers, {} failures, {} deaths", failures.len(), deaths.len());
    assert!(lost.is_empty(), "{} of {answered} requests were lost that no death excuses: {lost:#?}\n{deaths:#?}", lost.len());
    assert!(deaths.iter().any(|death| death.what == "daemon") && deaths.len() > 10, "{deaths:#?}");
}
