//! A network of the node's own for its containers: a bridge, a namespace and a pair of links each, NAT to the outside.
//!
//! Owns: the bridge `wsw<8 digits>`, links `wsw<12 digits>`, the table `wsw_<digits>` of nftables (else rules of iptables), the namespaces' names in `n/`, who has which
//! address. Invariants: it is made with the first container and removed when none is left at the daemon's end; an address belongs to one task; what a crash left goes at the
//! next start. Two daemons of a machine differ in all names, and choose networks that no route leads to yet. Never: publishes a port (the ingress connects to the address).

use super::nat;
use super::netlink::Socket;
use crate::error::{Error, Result};
use crate::files;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wsw_api::TaskId;
use wsw_api::network::Sandbox;

/// A bridge has at most 1,024 ports; so has this network.
const PREFIX: u8 = 22;
const SIZE: u32 = 1 << (32 - PREFIX);
/// Networks are taken from 10.128.0.0/9: what people use of 10.0.0.0/8 mostly lies below.
const FIRST: u32 = 0x0a80_0000;
const NETWORKS: u32 = 1 << (PREFIX - 9);
/// What a container calls its link.
pub(super) const INSIDE: &str = "eth0";
const CHOICE: &str = "network";

/// See the module's page.
#[derive(Debug)]
pub(super) struct Network {
    folder: PathBuf,
    namespaces: PathBuf,
    id: String,
    bridge: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Once it is chosen.
    base: Option<u32>,
    /// The bridge is up.
    is_up: bool,
    taken: BTreeMap<TaskId, Ipv4Addr>,
    /// Where the search for a free address goes on: one that was just given back is not given out at once.
    next: u32,
}

fn failed(doing: impl std::fmt::Display, error: &std::io::Error) -> Error {
    Error::Temporary(format!("network: cannot {doing}: {error}"))
}

impl Network {
    pub(super) fn open(folder: &Path, id: &str) -> Result<Self> {
        let namespaces = folder.join("n");
        files::folder(&namespaces, 0o700)?;
        let bridge = format!("wsw{}", id.chars().take(8).collect::<String>());
        let base = std::fs::read_to_string(folder.join(CHOICE)).ok().and_then(|text| text.trim().parse::<Ipv4Addr>().ok()).map(u32::from);
        let state = State { base, ..State::default() };
        Ok(Self { folder: folder.to_owned(), namespaces, id: id.to_owned(), bridge, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn namespace(&self, task: TaskId) -> PathBuf {
        self.namespaces.join(task.to_string())
    }

    /// Where a task is; none without an address.
    pub(super) fn sandbox(&self, task: TaskId) -> Option<Sandbox> {
        let state = self.lock();
        let address = *state.taken.get(&task)?;
        let gateway = Ipv4Addr::from(state.base? + 1);
        Some(Sandbox { address, prefix: PREFIX, gateway, mac: mac(address), namespace: self.namespace(task).display().to_string() })
    }

    pub(super) fn address_of(&self, task: TaskId) -> Option<Ipv4Addr> {
        self.lock().taken.get(&task).copied()
    }

    /// A task of an earlier daemon has this address.
    pub(super) fn adopt(&self, task: TaskId, address: Ipv4Addr) {
        let mut state = self.lock();
        state.taken.insert(task, address);
    }

    /// Gives a task an address and a namespace that has it. Blocking.
    pub(super) fn attach(&self, task: TaskId) -> Result<(Ipv4Addr, PathBuf)> {
        let host = Socket::open().map_err(|e| failed("open a netlink socket", &e))?;
        let (bridge, address, gateway) = {
            let mut state = self.lock();
            let base = self.bring_up(&mut state, &host)?;
            let index = host.index(&self.bridge).map_err(|e| failed("list links", &e))?;
            let index = index.ok_or_else(|| Error::Temporary(format!("network: the bridge {} is gone", self.bridge)))?;
            (index, take_address(&mut state, base, task)?, Ipv4Addr::from(base + 1))
        };
        let path = self.namespace(task);
        let made = make_namespace(&path).and_then(|inside| {
            let namespace = File::open(&path)?;
            host.add_pair(&link_name(task), bridge, namespace.as_fd(), mac(address))?;
            let eth0 = inside.index(INSIDE)?.ok_or_else(|| std::io::Error::other("the link did not arrive"))?;
            inside.up(1)?;
            inside.add_address(eth0, address, PREFIX)?;
            inside.up(eth0)?;
            inside.add_default_route(gateway)
        });
        made.map_err(|e| failed("connect a container", &e))?;
        Ok((address, path))
    }

    /// Takes a task's link, namespace and address away. Blocking.
    pub(super) fn detach(&self, task: TaskId, address: Option<Ipv4Addr>) -> Result<()> {
        let path = self.namespace(task);
        if address.is_some() || path.exists() {
            let host = Socket::open().map_err(|e| failed("open a netlink socket", &e))?;
            host.remove(&link_name(task)).map_err(|e| failed("remove a link", &e))?;
            remove_namespace(&path).map_err(|e| failed("remove a namespace", &e))?;
        }
        self.lock().taken.remove(&task);
        Ok(())
    }

    fn bring_up(&self, state: &mut State, host: &Socket) -> Result<u32> {
        let there = host.index(&self.bridge).map_err(|e| failed("list links", &e))?;
        if let (Some(base), true, Some(_)) = (state.base, state.is_up, there) {
            return Ok(base);
        }
        let base = match (state.base, there) {
            (Some(base), Some(_)) => base,
            (known, _) => {
                let base = choose(&std::fs::read_to_string("/proc/net/route").unwrap_or_default(), &self.id, known)?;
                std::fs::write(self.folder.join(CHOICE), Ipv4Addr::from(base).to_string()).map_err(|e| failed("remember the network", &e))?;
                base
            }
        };
        state.base = Some(base);
        if there.is_none() {
            host.add_bridge(&self.bridge).map_err(|e| failed("make a bridge", &e))?;
            let index = host.index(&self.bridge).map_err(|e| failed("list links", &e))?.unwrap_or_default();
            host.add_address(index, Ipv4Addr::from(base + 1), PREFIX).map_err(|e| failed("give the bridge its address", &e))?;
        }
        nat::open(&self.id, &self.bridge, &format!("{}/{PREFIX}", Ipv4Addr::from(base)));
        state.is_up = true;
        Ok(base)
    }

    /// Removes what tasks left that are not kept.
    pub(super) fn sweep(&self, keeps: &BTreeSet<TaskId>) {
        let kept = keeps.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        for entry in std::fs::read_dir(&self.namespaces).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !kept.contains(name))
                && let Err(error) = remove_namespace(&entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "a namespace was not removed");
            }
        }
        let links = keeps.iter().map(|task| link_name(*task)).collect::<BTreeSet<_>>();
        let Ok(host) = Socket::open() else { return };
        let all = host.links().unwrap_or_default();
        let Some(bridge) = all.iter().find(|link| link.name == self.bridge).map(|link| link.index) else { return };
        for link in all.iter().filter(|link| link.master == bridge && !links.contains(&link.name)) {
            let _ = host.remove(&link.name);
        }
    }

    /// At the daemon's end: nothing of the network stays when no container has it.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if !state.taken.is_empty() {
            return;
        }
        if let Ok(host) = Socket::open()
            && let Ok(Some(_)) = host.index(&self.bridge)
        {
            nat::close(&self.id, &self.bridge);
            let _ = host.remove(&self.bridge);
        }
        state.is_up = false;
    }
}

/// 15 characters, as long as a link's name may be.
fn link_name(task: TaskId) -> String {
    format!("wsw{}", hex::encode(task.as_bytes().get(..6).unwrap_or_default()))
}

/// Docker's: a link has its address in its hardware address, so that neighbours that remember the address's last owner are not wrong.
fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

fn take_address(state: &mut State, base: u32, task: TaskId) -> Result<Ipv4Addr> {
    if let Some(address) = state.taken.get(&task) {
        return Ok(*address);
    }
    let used = state.taken.values().copied().collect::<BTreeSet<_>>();
    // Neither the network's own address, nor the bridge's, nor the broadcast.
    let free = (0..SIZE - 3).map(|step| 2 + (state.next + step) % (SIZE - 3)).find(|offset| !used.contains(&Ipv4Addr::from(base + offset)));
    let offset = free.ok_or_else(|| Error::Temporary(format!("network: all {} addresses of this node are taken", SIZE - 3)))?;
    state.next = offset - 1;
    let address = Ipv4Addr::from(base + offset);
    state.taken.insert(task, address);
    Ok(address)
}

/// A network that no route of the machine leads to; the one of before when it still is so.
fn choose(routes: &str, id: &str, known: Option<u32>) -> Result<u32> {
    let hex = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::swap_bytes);
    let row = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let network = hex(fields.next())?;
        hex(fields.nth(5)).filter(|mask| *mask != 0).map(|mask| (network, mask))
    };
    let routes = routes.lines().skip(1).filter_map(row).collect::<Vec<_>>();
    let mask = u32::MAX << (32 - PREFIX);
    let is_free = |base: u32| !routes.iter().any(|(network, other)| (base & other & mask) == (network & other & mask));
    let start = id.chars().take(8).filter_map(|digit| digit.to_digit(16)).fold(0_u32, |sum, digit| (sum << 4) | digit) % NETWORKS;
    let candidates = (0..NETWORKS).map(|step| FIRST + (start + step) % NETWORKS * SIZE);
    known.into_iter().chain(candidates).find(|base| is_free(*base)).ok_or_else(|| Error::Temporary("network: no free addresses in 10.128.0.0/9".into()))
}

/// Makes a namespace with a name, and opens a socket in it.
fn make_namespace(path: &Path) -> std::io::Result<Socket> {
    remove_namespace(path)?;
    File::create_new(path)?;
    let name = path.to_owned();
    // A thread of its own: it moves into the namespace and ends there.
    let thread = std::thread::Builder::new().name("netns".into()).stack_size(128 << 10).spawn(move || {
        leave_network()?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", &name)?;
        Socket::open()
    })?;
    thread.join().map_err(|_| std::io::Error::other("the thread that makes a namespace ended"))?
}

#[allow(unsafe_code, reason = "rustix marks unshare as unsafe for the sake of shared descriptors")]
fn leave_network() -> std::io::Result<()> {
    // SAFETY: only the network namespace of this one thread changes; descriptors stay shared as they are.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?)
}

fn remove_namespace(path: &Path) -> std::io::Result<()> {
    crate::mounts::kernel::detach(path)?;
    files::remove(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_something_leads_to_is_not_taken() {
        let route = |network: Ipv4Addr, prefix: u32| {
            let (network, mask) = (u32::from(network).swap_bytes(), (u32::MAX << (32 - prefix)).swap_bytes());
            format!(
                "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\neth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\nx {network:08X} 00000000 0001 0 0 0 {mask:08X} 0 0 0\n"
            )
        };
        let first = choose("", "00000001", None).unwrap();
        assert_eq!(Ipv4Addr::from(first), Ipv4Addr::new(10, 128, 4, 0));
        for (network, prefix) in [(Ipv4Addr::new(10, 128, 5, 0), 24), (Ipv4Addr::new(10, 128, 4, 0), 22), (Ipv4Addr::new(10, 128, 4, 9), 32)] {
            assert_eq!(Ipv4Addr::from(choose(&route(network, prefix), "00000001", Some(first)).unwrap()), Ipv4Addr::new(10, 128, 8, 0), "{network}/{prefix}");
        }
        assert!(choose(&route(Ipv4Addr::new(10, 0, 0, 0), 8), "0", None).is_err());
        assert_eq!(choose(&route(Ipv4Addr::new(192, 168, 0, 0), 16), "00000001", Some(first)).unwrap(), first);
    }

    #[test]
    fn addresses_are_given_once_and_not_again_at_once() {
        let mut state = State::default();
        let task = |n: u16| TaskId::from_bytes([(n >> 8) as u8, n as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let base = u32::from(Ipv4Addr::new(10, 128, 0, 0));
        let first = take_address(&mut state, base, task(0)).unwrap();
        assert_eq!((first, take_address(&mut state, base, task(0)).unwrap()), (Ipv4Addr::new(10, 128, 0, 2), first));
        state.taken.clear();
        assert_eq!(take_address(&mut state, base, task(1)).unwrap(), Ipv4Addr::new(10, 128, 0, 3));
        let all = (1..1_022).filter(|n| take_address(&mut state, base, task(*n)).is_ok()).count();
        assert_eq!((all, state.taken.values().collect::<BTreeSet<_>>().len()), (1_021, 1_021));
        assert!(take_address(&mut state, base, task(2_000)).unwrap_err().to_string().contains("all 1021 addresses"));
    }
}
