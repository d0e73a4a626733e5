//! Hands connections to a shim: one message and one descriptor each, many under way at a time.
//!
//! Owns: the SEQPACKET socket beside the shim's ttrpc socket. Invariants: the caller keeps its copy of the connection until the answer;
//! an answer that does not come in time is an error, never "none": the shim may have the connection, so nobody else may get it. A shim
//! answers before it reads a byte, so one that ends without an answer has not taken it: all answers are read before the end counts.

use super::register::register;
use crate::error::{Error, Result};
use rustix::net::{AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wsw_api::ServiceId;
use wsw_api::shim::{CONTRACT, Handover, HandoverAnswer, HandoverOutcome, MAX_HANDOVER};
use wsw_api::spec::Protocol;

/// Hand-overs of one shim that wait for their answer; past it the shim counts as full.
const MAX_PENDING: usize = 1_024;
/// The shim only looks at its tables to answer; one that takes longer is stuck, and its client should not wait for it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

type Pending = Mutex<BTreeMap<u64, oneshot::Sender<HandoverOutcome>>>;

/// The channel to one shim.
pub(crate) struct Handovers {
    socket: Arc<AsyncFd<OwnedFd>>,
    pending: Arc<Pending>,
    next: AtomicU64,
    /// Cancelled when nothing more comes from the socket.
    closed: CancellationToken,
}

impl Handovers {
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let open = || -> io::Result<AsyncFd<OwnedFd>> {
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            // A message is half a KiB, but each counts as a whole buffer page.
            let _ = sockopt::set_socket_send_buffer_size(&socket, 1 << 20);
            register(socket, Interest::READABLE | Interest::WRITABLE)
        };
        let socket = Arc::new(open().map_err(|e| Error::io(format_args!("connect to {}", path.display()), &e))?);
        let pending = Arc::new(Pending::default());
        let closed = CancellationToken::new();
        tokio::spawn(receive(socket.clone(), pending.clone(), closed.clone()));
        Ok(Self { socket, pending, next: AtomicU64::new(1), closed })
    }

    /// True when it is of no use any more; the shim may live on and be asked for a new one.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Offers a connection; the caller still has it when the answer is not [`HandoverOutcome::Taken`]. None when the shim went away
    /// without having taken it.
    pub(crate) async fn offer(
        &self,
        service: ServiceId,
        (protocol, port): (Protocol, u16),
        client: SocketAddr,
        conn: BorrowedFd<'_>,
    ) -> Result<Option<HandoverOutcome>> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let message = rmp_serde::to_vec_named(&Handover { contract: CONTRACT, seq, service, port, protocol, client });
        let message = message.map_err(|error| Error::Invalid(format!("hand-over: {error}")))?;
        let (answer, answered) = oneshot::channel();
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.len() >= MAX_PENDING {
                return Ok(Some(HandoverOutcome::Full));
            }
            // The end clears the table once, under this lock.
            if self.is_closed() {
                return Ok(None);
            }
            pending.insert(seq, answer);
        }
        let _cleanup = Forget { pending: &self.pending, seq };
        match self.send(&message, conn).await {
            Ok(()) => {}
            Err(error) if is_closed(&error) => return Ok(None),
            Err(error) => return Err(Error::io("hand over a connection", &error)),
        }
        match tokio::time::timeout(ANSWER_LIMIT, answered).await {
            Ok(answer) => Ok(answer.ok()),
            Err(_) => Err(Error::Temporary("the shim does not answer a hand-over".into())),
        }
    }

    async fn send(&self, message: &[u8], conn: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            let sent = ready.try_io(|socket| {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let descriptors = [conn];
                if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                Ok(rustix::net::sendmsg(socket.as_fd(), &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Ok(result) => return result.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

/// Takes an entry out again, whatever became of it.
struct Forget<'a> {
    pending: &'a Pending,
    seq: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.seq);
    }
}

/// The other end is gone: what was not sent was not received.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

/// Gives each answer to who waits for it, until the socket ends, which it does with the shim. Then those who still wait hear that
/// nobody took their connection.
async fn receive(socket: Arc<AsyncFd<OwnedFd>>, pending: Arc<Pending>, closed: CancellationToken) {
    let mut buffer = [0_u8; MAX_HANDOVER];
    let mut reset = false;
    loop {
        let answer = match receive_one(&socket, &mut buffer).await {
            // A shim that ends with messages unread: the kernel tells that once, before the answers that still lie here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !std::mem::replace(&mut reset, true) => continue,
            Ok(0) | Err(_) => break,
            Ok(length) => rmp_serde::from_slice::<HandoverAnswer>(buffer.get(..length).unwrap_or_default()),
        };
        match answer {
            Ok(answer) => {
                let waiting = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.seq);
                // Nobody waits for it any more: its connection was given up.
                waiting.map(|waiting| waiting.send(answer.outcome));
            }
            Err(error) => tracing::warn!(%error, "unreadable hand-over answer"),
        }
    }
    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
    closed.cancel();
    pending.clear();
}

async fn receive_one(socket: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = socket.readable().await?;
        let received = ready.try_io(|socket| Ok(rustix::net::recv(socket.as_fd(), &mut *buffer, RecvFlags::empty())?));
        if let Ok(result) = received {
            return result.map(|(_, length)| length);
        }
    }
}
