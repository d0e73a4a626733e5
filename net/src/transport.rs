//! How connections behave: pace, silence, windows, sockets.
//!
//! Owns: every number of QUIC's that is not the library's default, each with its reason.

use crate::credentials::Credentials;
use crate::error::Error;
use crate::protocol::Protocol;
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// A quiet connection says this often that it is there.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Silent for so long, a connection is dead; a fresh dial is quicker than waiting for probes, which back off.
const IDLE: Duration = Duration::from_millis(2_500);
/// What a LAN needs at most; a lost first packet costs thrice this, not a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// One stream's bytes that wait to be read: at 1 ms of round trip 256 MB/s.
pub(crate) const STREAM_WINDOW: u32 = 256 << 10;
/// The same for parts of images: few streams, large, and perhaps from far away.
const BLOB_WINDOW: u32 = 1 << 20;
/// What one connection holds for a peer that does not acknowledge.
const SEND_WINDOW: u64 = 4 << 20;
/// Datagrams of one connection that wait to be read; the oldest are dropped beyond it.
const DATAGRAMS: usize = 256 << 10;
/// Before the protocol is known: enough for a question, nothing to fill memory with.
const FIRST_WINDOW: u32 = 16 << 10;
/// Room for a storm of handshakes (the default of 208 KiB holds about 150 first packets).
const SOCKET_BUFFER: usize = 2 << 20;
/// Length of our connection ids: as many as can be told apart by chance.
const ID_BYTES: usize = 8;

/// For connections that are accepted: nothing is granted before the protocol is known.
pub(crate) fn accepting() -> TransportConfig {
    let mut config = common();
    config.max_concurrent_bidi_streams(VarInt::from_u32(0)).receive_window(VarInt::from_u32(FIRST_WINDOW));
    config
}

/// For connections that are dialled: the other side opens no streams before it is allowed to.
pub(crate) fn dialling(protocol: Protocol) -> TransportConfig {
    let mut config = common();
    config.max_concurrent_bidi_streams(VarInt::from_u32(0)).receive_window(VarInt::from_u32(4 * BLOB_WINDOW));
    if protocol == Protocol::Blob {
        config.stream_receive_window(VarInt::from_u32(BLOB_WINDOW));
    }
    config
}

fn common() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .mtu_discovery_config(Some(MtuDiscoveryConfig::default()));
    config
}

/// Connection ids by chance, all of one length.
struct Ids;

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; ID_BYTES];
        // The operating system's randomness does not fail once it has worked (the handshake's keys came from there too).
        let _ = SystemRandom::new().fill(&mut bytes);
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// With resets that outlive this process.
pub(crate) fn endpoint(credentials: &Credentials) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(credentials.reset_key()));
    config.cid_generator(|| Box::new(Ids));
    config
}

/// A socket of our own; with an IPv6 wildcard address for both families.
pub(crate) fn socket(addr: SocketAddr) -> Result<UdpSocket, Error> {
    let open = || {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        // As much as the kernel gives: less is slower, not wrong.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&addr.into())?;
        Ok(socket.into())
    };
    open().map_err(|error: std::io::Error| Error::Bind(addr, error.to_string()))
}

/// The address from which a peer is dialled.
pub(crate) fn any_port(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    }
}
