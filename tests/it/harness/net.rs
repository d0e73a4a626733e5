//! A network of its own for a test: hosts in network namespaces behind one switch, whose ways can be cut, in one direction too, and healed.
//!
//! ```text
//!   host 1 (eth0: 10.77.0.1, fd77::1) ──h1─┐
//!   host 2 (eth0: 10.77.0.2, fd77::2) ──h2─┤ switch: a bridge in a namespace of its own; what it does not pass on is a rule there
//! ```
//! Owns: namespaces, links, rules. Invariants: names carry this process's number, so runs beside each other do not meet; all goes when the
//! network is dropped, after a panic too, and what a killed run left goes when the next one begins. Needs root; without it a test that cuts
//! says so and ends. Clients speak to daemons over Unix sockets and need no namespace.

use super::node::{Node, Setup};
use super::room::{Room, take};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

const PREFIX: &str = "wswt-";

/// One host: a namespace with one interface.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    number: u8,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// The switch and its hosts; a host's place is its number less one.
pub struct Net {
    switch: String,
    pub hosts: Vec<Host>,
    /// From port, to port.
    cuts: Mutex<BTreeSet<(u8, u8)>>,
    _room: Room,
}

impl Host {
    /// Becomes the program that is named next, in this host's network; nothing else of it differs, not even the process.
    pub fn enter(&self) -> Command {
        inside(&self.namespace)
    }
}

fn inside(namespace: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--");
    command
}

impl Net {
    /// So many hosts that all reach each other; none where that takes rights that this run lacks.
    pub fn of(hosts: usize) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return None;
        }
        static SWEPT: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(1);
        SWEPT.call_once(sweep);
        let room = take(hosts);
        let switch = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // From here on dropping removes what is there.
        let mut net = Self { switch, hosts: Vec::new(), cuts: Mutex::default(), _room: room };
        ip(None, &format!("netns add {}", net.switch));
        // It only passes frames on: no groups to learn, no tree to span.
        ip(Some(&net.switch), "link add br0 type bridge mcast_snooping 0 stp_state 0\nlink set br0 up");
        for number in 1..=u8::try_from(hosts).expect("few hosts") {
            net.plug(number);
        }
        Some(net)
    }

    fn plug(&mut self, number: u8) {
        let namespace = format!("{}-h{number}", self.switch);
        let (v4, v6) = (Ipv4Addr::new(10, 77, 0, number), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()));
        ip(None, &format!("netns add {namespace}"));
        let link = format!("link add h{number} type veth peer name eth0 netns {namespace}\nlink set h{number} master br0 up");
        self.hosts.push(Host { namespace: namespace.clone(), number, v4, v6 });
        ip(Some(&self.switch), &link);
        ip(Some(&namespace), &format!("link set lo up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\nlink set eth0 up"));
    }

    /// A node on a host, with more flags.
    pub fn node(&self, host: usize, flags: &[&str]) -> Node {
        self.node_with(host, Setup { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), ..Setup::default() })
    }

    /// A node on a host with its own settings.
    pub fn node_with(&self, host: usize, setup: Setup) -> Node {
        Node::start_with(Setup { host: Some(self.hosts[host].clone()), ..setup })
    }

    /// What one sends does not reach the other any more; the other direction stays as it is.
    pub fn cut_from_to(&self, from: usize, to: usize) {
        self.change(|cuts| cuts.extend([(self.hosts[from].number, self.hosts[to].number)]));
    }

    /// Two hosts do not reach each other any more.
    pub fn cut(&self, one: usize, other: usize) {
        self.part(&[one], &[other]);
    }

    /// None of the first reaches one of the second any more, nor the reverse.
    pub fn part(&self, some: &[usize], others: &[usize]) {
        let port = |at: usize| self.hosts[at].number;
        let pairs = some.iter().flat_map(|one| others.iter().filter(move |other| *other != one).map(move |other| (port(*one), port(*other))));
        self.change(|cuts| cuts.extend(pairs.flat_map(|(one, other)| [(one, other), (other, one)])));
    }

    /// This host reaches nobody, and nobody reaches it.
    pub fn isolate(&self, host: usize) {
        self.part(&[host], &(0..self.hosts.len()).collect::<Vec<_>>());
    }

    /// Everybody reaches everybody.
    pub fn heal(&self) {
        self.change(BTreeSet::clear);
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<(u8, u8)>)) {
        let mut cuts = self.cuts.lock().expect("no test panics in here");
        change(&mut cuts);
        let rules: String = cuts.iter().map(|(from, to)| format!("iifname h{from} oifname h{to} drop\n")).collect();
        // One transaction: the old rules go when the new ones come.
        let table =
            format!("table bridge cuts\ndelete table bridge cuts\ntable bridge cuts {{\nchain f {{\ntype filter hook forward priority 0\n{rules}}}\n}}\n");
        feed(inside(&self.switch).args(["nft", "-f", "-"]), &table);
    }

    /// A host's link passes so many kbit/s from now on, each way, and holds what waits for at most so many milliseconds.
    pub fn slow(&self, host: usize, kbit: u32, queue_ms: u32) {
        for (namespace, device) in self.ends(host) {
            let words = format!("tc qdisc replace dev {device} root tbf rate {kbit}kbit burst 4kb latency {queue_ms}ms");
            feed(inside(namespace).args(words.split(' ')), "");
        }
    }

    /// A host's link treats packets so from now on, each way, in netem's words; false where the kernel has no netem.
    pub fn spoil(&self, host: usize, words: &str) -> bool {
        self.ends(host).into_iter().all(|(namespace, device)| {
            let line = format!("tc qdisc replace dev {device} root netem {words}");
            let done = inside(namespace).args(line.split(' ')).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        })
    }

    /// A host's link passes everything at once again.
    pub fn mend(&self, host: usize) {
        for (namespace, device) in self.ends(host) {
            feed(inside(namespace).args(format!("tc qdisc del dev {device} root").split(' ')), "");
        }
    }

    /// Both ends of a host's link.
    fn ends(&self, host: usize) -> [(&str, String); 2] {
        let host = &self.hosts[host];
        [(&host.namespace, "eth0".to_owned()), (&self.switch, format!("h{}", host.number))]
    }

    /// A host gets this address in place of its own of the same family.
    pub fn readdress(&mut self, host: usize, to: IpAddr) {
        let at = &mut self.hosts[host];
        let text = match to {
            IpAddr::V4(new) => format!("addr del {}/24 dev eth0\naddr add {new}/24 dev eth0", std::mem::replace(&mut at.v4, new)),
            IpAddr::V6(new) => format!("addr del {}/64 dev eth0\naddr add {new}/64 dev eth0 nodad", std::mem::replace(&mut at.v6, new)),
        };
        ip(Some(&at.namespace), &text);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in self.hosts.iter().map(|host| &host.namespace).chain([&self.switch]) {
            remove(namespace);
        }
    }
}

/// Namespaces of runs that are over.
fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}

/// A namespace goes with the last process in it; the switch's links go with it.
fn remove(namespace: &str) {
    let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
}

/// Lines for `ip`, in a namespace.
#[track_caller]
fn ip(namespace: Option<&str>, lines: &str) {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    feed(command.args(["-batch", "-"]), &format!("{lines}\n"));
}

#[track_caller]
fn feed(command: &mut Command, text: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/setup"));
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let done = child.wait_with_output().expect("it is our child");
    assert!(done.status.success(), "{command:?}: {}\n{text}", String::from_utf8_lossy(&done.stderr));
}
