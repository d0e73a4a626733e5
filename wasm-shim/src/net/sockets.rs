//! `wasi:sockets` as guests have it: wasmtime-wasi's, but for the functions in which an address is rewritten or a socket counted.
//!
//! ```text
//! guest binds 0.0.0.0:8080 or [::]:8080, a published target port      → 127.0.0.1:0 or [::1]:0, remembered, answered as the guest's own
//! guest binds port 0                                                  → as it is: a client's socket
//! anything else                                                       → access-denied, told in the log
//! ```
//! Owns: what of each socket the guest must not see (its real port), and its place in the bound. Invariant: what listens is registered
//! while its socket lives, and listens on loopback only. Never: connects or sends; `TaskNet` is asked by wasmtime-wasi for that.

use super::{TaskNet, listeners};
use crate::{guest::ComponentGuest, quota::Permit};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, ResourceType},
};
use wasmtime_wasi::{
    p2::{
        DynInputStream, DynOutputStream, Network, SocketError, SocketResult, TcpSocket, UdpSocket,
        bindings::sockets::{
            network::{ErrorCode, IpAddressFamily, IpSocketAddress},
            tcp::HostTcpSocket,
            tcp_create_socket::Host as _,
            udp::HostUdpSocket,
            udp_create_socket::Host as _,
        },
    },
    sockets::WasiSocketsView,
};
use wsw_api::spec::Protocol;

/// The version under which wasmtime-wasi registers its interfaces; guests of any 0.2 link to it.
const VERSION: &str = "0.2.12";

/// Sockets of one instance, by their number in its table.
#[derive(Default)]
pub struct Sockets(BTreeMap<u32, Socket>);

struct Socket {
    /// The address as the guest knows it, when the real one is another.
    local: Option<SocketAddr>,
    listening: Option<listeners::Entry>,
    _place: Permit,
}

impl Sockets {
    fn add(&mut self, number: u32, place: Permit, local: Option<SocketAddr>) {
        self.0.insert(number, Socket { local, listening: None, _place: place });
    }

    fn local(&self, number: u32) -> Option<SocketAddr> {
        self.0.get(&number)?.local
    }

    fn bound(&mut self, number: u32, local: SocketAddr) {
        if let Some(socket) = self.0.get_mut(&number) {
            socket.local = Some(local);
        }
    }

    fn listens(&mut self, number: u32, entry: Option<listeners::Entry>) {
        if let Some(socket) = self.0.get_mut(&number) {
            socket.listening = entry;
        }
    }
}

impl TaskNet {
    fn place(&self) -> SocketResult<Permit> {
        self.socket().ok_or_else(|| ErrorCode::NewSocketLimit.into())
    }

    /// The family that is really used: without IPv6 on the machine a guest's IPv6 server is served over IPv4.
    fn family(&self, wanted: IpAddressFamily) -> IpAddressFamily {
        if self.shared.ipv6 { wanted } else { IpAddressFamily::Ipv4 }
    }

    /// Where a bind really goes.
    fn bind(&self, protocol: Protocol, wanted: SocketAddr) -> SocketResult<SocketAddr> {
        if wanted.port() == 0 {
            return Ok(wanted);
        }
        if !self.spec.listen.allows(protocol, wanted.port()) {
            self.refused_to_listen(protocol, wanted);
            return Err(ErrorCode::AccessDenied.into());
        }
        match wanted.ip() {
            ip if !ip.is_unspecified() && !ip.is_loopback() => {
                self.refused_to_listen(protocol, wanted);
                Err(ErrorCode::AddressNotBindable.into())
            }
            IpAddr::V6(_) if self.shared.ipv6 => Ok((Ipv6Addr::LOCALHOST, 0).into()),
            _ => Ok((Ipv4Addr::LOCALHOST, 0).into()),
        }
    }

    fn register(self: &Arc<Self>, protocol: Protocol, port: u16, real: SocketAddr) -> Option<listeners::Entry> {
        let key = (self.spec.service?, protocol, port);
        Some(self.shared.listeners.add(key, real, self.clone()))
    }
}

impl ComponentGuest {
    fn create_tcp(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        let (place, family) = (self.net.place()?, self.net.family(family));
        let socket = self.sockets().create_tcp_socket(family)?;
        self.open.add(socket.rep(), place, None);
        Ok(socket)
    }

    async fn bind_tcp(&mut self, this: Resource<TcpSocket>, network: Resource<Network>, wanted: IpSocketAddress) -> SocketResult<()> {
        let (number, wanted) = (this.rep(), SocketAddr::from(wanted));
        let real = self.net.bind(Protocol::Tcp, wanted)?;
        HostTcpSocket::start_bind(&mut self.sockets(), this, network, real.into()).await?;
        if wanted.port() != 0 {
            self.open.bound(number, wanted);
        }
        Ok(())
    }

    async fn listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let (number, same) = (this.rep(), Resource::new_borrow(this.rep()));
        let Some(own) = self.open.local(number) else {
            // Bound to no port of its own, or not at all: nobody could be told where it is.
            if let Ok(address) = HostTcpSocket::local_address(&mut self.sockets(), this) {
                self.net.refused_to_listen(Protocol::Tcp, address.into());
                return Err(ErrorCode::AccessDenied.into());
            }
            return Err(ErrorCode::InvalidState.into());
        };
        HostTcpSocket::start_listen(&mut self.sockets(), this).await?;
        let real = HostTcpSocket::local_address(&mut self.sockets(), same)?;
        let entry = self.net.register(Protocol::Tcp, own.port(), real.into());
        self.open.listens(number, entry);
        Ok(())
    }

    fn accept(&mut self, this: Resource<TcpSocket>) -> SocketResult<Accepted> {
        let (place, own) = (self.net.place()?, self.open.local(this.rep()));
        let accepted = HostTcpSocket::accept(&mut self.sockets(), this)?;
        // The address that the client came to is not the real one; of the guest's own only the port is certain.
        let own = own.map(|own| match own.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, own.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, own.port()).into(),
            _ => own,
        });
        self.open.add(accepted.0.rep(), place, own);
        Ok(accepted)
    }

    fn tcp_local(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        match self.open.local(this.rep()) {
            Some(own) => Ok(own.into()),
            None => HostTcpSocket::local_address(&mut self.sockets(), this),
        }
    }

    async fn create_udp(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        let (place, family) = (self.net.place()?, self.net.family(family));
        let socket = self.sockets().create_udp_socket(family).await?;
        self.open.add(socket.rep(), place, None);
        Ok(socket)
    }

    async fn bind_udp(&mut self, this: Resource<UdpSocket>, network: Resource<Network>, wanted: IpSocketAddress) -> SocketResult<()> {
        let (number, wanted) = (this.rep(), SocketAddr::from(wanted));
        let real = self.net.bind(Protocol::Udp, wanted)?;
        HostUdpSocket::start_bind(&mut self.sockets(), this, network, real.into()).await?;
        if wanted.port() != 0 {
            let real = HostUdpSocket::local_address(&mut self.sockets(), Resource::new_borrow(number))?;
            let entry = self.net.register(Protocol::Udp, wanted.port(), real.into());
            self.open.bound(number, wanted);
            self.open.listens(number, entry);
        }
        Ok(())
    }

    fn udp_local(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        match self.open.local(this.rep()) {
            Some(own) => Ok(own.into()),
            None => HostUdpSocket::local_address(&mut self.sockets(), this),
        }
    }

    fn forget(&mut self, number: u32) {
        self.open.0.remove(&number);
    }
}

type Accepted = (Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>);
type Store<'a> = StoreContextMut<'a, ComponentGuest>;
/// What the linker wants: a refusal is an answer to the guest, a trap is an error.
pub(super) type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

pub(super) fn settle<T>(result: Result<T, SocketError>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => error.downcast().map(|code| (Err(code),)),
    }
}

pub(super) fn interface(name: &str) -> String {
    format!("wasi:sockets/{name}@{VERSION}")
}

/// Replaces the functions above in a linker that has wasmtime-wasi's.
pub fn add_to_linker(linker: &mut Linker<ComponentGuest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(&interface("tcp-create-socket"))?
        .func_wrap("create-tcp-socket", |mut store: Store<'_>, (family,)| settle(store.data_mut().create_tcp(family)))?;
    let mut tcp = linker.instance(&interface("tcp"))?;
    tcp.func_wrap_async("[method]tcp-socket.start-bind", |mut store: Store<'_>, (this, network, wanted)| {
        Box::new(async move { settle(store.data_mut().bind_tcp(this, network, wanted).await) })
    })?;
    tcp.func_wrap_async("[method]tcp-socket.start-listen", |mut store: Store<'_>, (this,)| {
        Box::new(async move { settle(store.data_mut().listen(this).await) })
    })?;
    tcp.func_wrap("[method]tcp-socket.accept", |mut store: Store<'_>, (this,)| settle(store.data_mut().accept(this)))?;
    tcp.func_wrap("[method]tcp-socket.local-address", |mut store: Store<'_>, (this,)| settle(store.data_mut().tcp_local(this)))?;
    tcp.resource("tcp-socket", ResourceType::host::<TcpSocket>(), |mut store, number| {
        store.data_mut().forget(number);
        HostTcpSocket::drop(&mut store.data_mut().sockets(), Resource::new_own(number))
    })?;
    linker
        .instance(&interface("udp-create-socket"))?
        .func_wrap_async("create-udp-socket", |mut store: Store<'_>, (family,)| Box::new(async move { settle(store.data_mut().create_udp(family).await) }))?;
    let mut udp = linker.instance(&interface("udp"))?;
    udp.func_wrap_async("[method]udp-socket.start-bind", |mut store: Store<'_>, (this, network, wanted)| {
        Box::new(async move { settle(store.data_mut().bind_udp(this, network, wanted).await) })
    })?;
    udp.func_wrap("[method]udp-socket.local-address", |mut store: Store<'_>, (this,)| settle(store.data_mut().udp_local(this)))?;
    udp.resource("udp-socket", ResourceType::host::<UdpSocket>(), |mut store, number| {
        store.data_mut().forget(number);
        HostUdpSocket::drop(&mut store.data_mut().sockets(), Resource::new_own(number))
    })?;
    super::lookup::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
