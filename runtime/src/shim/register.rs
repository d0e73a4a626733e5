//! Descriptors in tokio's reactor.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor that it owns from now on.
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` always answers the same descriptor and keeps it open until the `AsyncFd`, which owns it, is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
