//! The hand-over socket: connections from the daemon, as descriptors.
//!
//! ```text
//! daemon -> shim   one SOCK_SEQPACKET message: Handover (MessagePack) + exactly one descriptor
//! shim -> daemon   HandoverAnswer: taken | none | full
//! ```
//! Owns: the frames. Invariants: only root or the shim's own user is heard; nothing is read from a connection
//! that is not taken; a connection is served only after the daemon was told so; a bad frame ends the channel it came on, with a log line.

use crate::{
    connection::{self, Served, Transport},
    connections::Connections,
    forwarded::Client,
    net::{listeners::Listeners, relay},
    replica::Services,
};
use rustix::{
    cmsg_space,
    net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt},
};
use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Semaphore,
};
use tokio_util::task::AbortOnDropHandle;
use wsw_api::shim::{CONTRACT, Handover, HandoverAnswer, HandoverOutcome, MAX_HANDOVER};
use wsw_api::spec::Protocol;

/// Daemons that are connected: one, and for a moment its predecessor.
const MAX_CHANNELS: usize = 16;
const BACKLOG: i32 = 16;
/// Descriptors that fit into the control buffer: one is right, more are noticed and closed.
const MAX_DESCRIPTORS: usize = 4;
/// A relay has both its ends.
const DESCRIPTORS_OF_A_RELAY: u32 = 2;
/// Relays get this part of as many descriptors as there are connections of servers.
const RELAYS_PART: usize = 2;

/// Why a channel was closed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("hand-over: {0}")]
    Io(#[from] io::Error),
    #[error("hand-over: the message is cut")]
    Cut,
    #[error("hand-over: {0} descriptors instead of one")]
    Descriptors(usize),
    #[error("hand-over: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("hand-over: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// The listener.
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    services: Arc<Services>,
    listeners: Arc<Listeners>,
    guests: tokio::runtime::Handle,
    connections: Arc<Connections>,
    /// Descriptors for relays. They are counted apart: a relayed stream may be idle for ever, so none is ended for the sake of another.
    relays: Arc<Semaphore>,
    channels: Arc<Semaphore>,
}

/// Makes and binds the socket, which a confined shim cannot any more.
pub fn bind(path: &Path) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

impl Listener {
    /// `connections` is the bound on connections that are served at once.
    pub fn new(socket: OwnedFd, services: Arc<Services>, listeners: Arc<Listeners>, guests: tokio::runtime::Handle, connections: usize) -> io::Result<Self> {
        let socket = register(socket)?;
        let relays = Arc::new(Semaphore::new(connections / RELAYS_PART));
        let (connections, channels) = (Connections::new(connections), Arc::new(Semaphore::new(MAX_CHANNELS)));
        Ok(Self { socket, services, listeners, guests, connections, relays, channels })
    }

    /// Accepts channels for ever.
    pub async fn run(self) {
        let _sweeping = AbortOnDropHandle::new(tokio::spawn(self.connections.clone().sweep()));
        let hearing = self.connections.clone().hear();
        let _hearing = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = hearing.await {
                tracing::error!("clients that go away are not noticed any more: {error}");
            }
        }));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let accepted = self.socket.async_io(Interest::READABLE, |socket| Ok(rustix::net::accept_with(socket, flags)?)).await;
            let channel = match accepted {
                Ok(channel) => channel,
                Err(error) => {
                    // Out of descriptors, most likely. The listener stays readable: do not spin.
                    tracing::error!("hand-over: accept: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !is_trusted(&channel) {
                tracing::warn!("hand-over: a stranger was turned away");
                continue;
            }
            let Ok(permit) = self.channels.clone().try_acquire_owned() else {
                tracing::warn!("hand-over: too many channels");
                continue;
            };
            let serving = Channel {
                services: self.services.clone(),
                listeners: self.listeners.clone(),
                guests: self.guests.clone(),
                connections: self.connections.clone(),
                relays: self.relays.clone(),
            };
            tokio::spawn(async move {
                if let Err(error) = serving.run(channel).await {
                    tracing::warn!("{error}");
                }
                drop(permit);
            });
        }
    }
}

pub fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` always answers the same descriptor and keeps it open until the `AsyncFd`, which owns it, is dropped.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register(socket) };
    Ok(registered?)
}

/// Only root and the shim's own user may talk to it.
pub fn is_trusted(socket: impl AsFd) -> bool {
    sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

struct Channel {
    services: Arc<Services>,
    listeners: Arc<Listeners>,
    guests: tokio::runtime::Handle,
    connections: Arc<Connections>,
    relays: Arc<Semaphore>,
}

impl Channel {
    async fn run(&self, channel: OwnedFd) -> Result<(), Error> {
        let channel = register(channel)?;
        loop {
            let received = channel.async_io(Interest::READABLE, receive).await?;
            let Some((message, descriptors)) = received? else {
                return Ok(());
            };
            let count = descriptors.len();
            let Ok([descriptor]) = <[OwnedFd; 1]>::try_from(descriptors) else {
                return Err(Error::Descriptors(count));
            };
            self.take(&channel, rmp_serde::from_slice(&message)?, descriptor).await?;
        }
    }

    async fn take(&self, channel: &AsyncFd<OwnedFd>, handover: Handover, descriptor: OwnedFd) -> Result<(), Error> {
        let (outcome, work) = if handover.contract == CONTRACT { self.choose(&handover, descriptor)? } else { (HandoverOutcome::None, None) };
        let answer = rmp_serde::to_vec_named(&HandoverAnswer { seq: handover.seq, outcome })?;
        channel.async_io(Interest::WRITABLE, |socket| Ok(rustix::net::send(socket, &answer, SendFlags::NOSIGNAL)?)).await?;
        if let Some(work) = work {
            self.guests.spawn(work);
        }
        Ok(())
    }

    /// What becomes of a descriptor, and what is to be done once the daemon knows. Nothing was read from one that is not taken.
    fn choose(&self, handover: &Handover, descriptor: OwnedFd) -> Result<(HandoverOutcome, Option<Work>), Error> {
        let key = (handover.service, handover.protocol, handover.port);
        if handover.protocol == Protocol::Udp {
            let taken = relay::udp(&descriptor, key, &self.listeners)?;
            return Ok((if taken { HandoverOutcome::Taken } else { HandoverOutcome::None }, None));
        }
        if let Some(visit) = self.services.visit(&handover.service) {
            let Some(place) = self.connections.enter(handover.service) else { return Ok((HandoverOutcome::Full, None)) };
            let client = Client::new(handover.client.ip());
            let served = Served { services: self.services.clone(), id: handover.service, visit, client };
            let work = connection::serve(Transport::new(descriptor)?, served, place);
            return Ok((HandoverOutcome::Taken, Some(Box::pin(work))));
        }
        let Some(seat) = self.listeners.pick(key, &[]) else { return Ok((HandoverOutcome::None, None)) };
        let Ok(permit) = self.relays.clone().try_acquire_many_owned(DESCRIPTORS_OF_A_RELAY) else { return Ok((HandoverOutcome::Full, None)) };
        let (transport, client, listeners) = (Transport::new(descriptor)?, handover.client, self.listeners.clone());
        let work = async move {
            relay::tcp(transport, client, key, listeners, seat).await;
            drop(permit);
        };
        Ok((HandoverOutcome::Taken, Some(Box::pin(work))))
    }
}

/// The life of a connection that was taken.
type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

type Received = Result<Option<(Vec<u8>, Vec<OwnedFd>)>, Error>;

/// One message with its descriptors; none at the end. The outer error is the socket's own (also "would block").
fn receive(socket: &OwnedFd) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; MAX_HANDOVER];
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Ok(Err(Error::Cut));
    }
    if message.bytes == 0 && descriptors.is_empty() {
        return Ok(Ok(None));
    }
    bytes.truncate(message.bytes);
    Ok(Ok(Some((bytes, descriptors))))
}
