//! Where a node listens and where others reach it.
//!
//! Owns: which of flag, request and default counts. How addresses are read and chosen is in `daemon/address.rs`.

use super::super::{DEFAULT_PORT, address};
use super::Node;
use anyhow::Result;
use std::net::SocketAddr;
use wsw_api::Error;

impl Node {
    pub(super) fn addresses(&self, listen: &str, advertise: &str, choose: impl FnOnce(SocketAddr) -> SocketAddr) -> Result<(SocketAddr, SocketAddr, bool)> {
        let listen = self.listen_addr(listen)?;
        let asked = self.advertised(advertise, listen.port())?;
        let chosen = asked.is_none() && listen.ip().is_unspecified();
        Ok((listen, asked.unwrap_or_else(|| choose(listen)), chosen))
    }

    /// The daemon's own flag, or what the request says, if it says anything.
    pub(in crate::daemon) fn advertised(&self, asked: &str, port: u16) -> Result<Option<SocketAddr>> {
        match (self.flags.advertise, asked) {
            (Some(own), _) => Ok(Some(own)),
            (None, "") => Ok(None),
            (None, text) => address::advertise("AdvertiseAddr", text, port).map(Some),
        }
    }

    /// Docker's client always sends `0.0.0.0:2377`; the daemon's own flag wins.
    pub(super) fn listen_addr(&self, asked: &str) -> Result<SocketAddr> {
        if let Some(listen) = self.flags.listen {
            return Ok(listen);
        }
        if asked.is_empty() {
            return Ok(SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)));
        }
        match asked.parse::<std::net::IpAddr>() {
            Ok(ip) => Ok(SocketAddr::new(ip, DEFAULT_PORT)),
            Err(_) => address::listen("ListenAddr", asked),
        }
    }
}

pub(super) fn invalid(error: anyhow::Error) -> Error {
    Error::invalid(format!("{error:#}"))
}

/// A port that another program has is said before anything is made.
pub(super) fn free(listen: SocketAddr) -> wsw_api::Result<()> {
    let probe = std::net::UdpSocket::bind(listen);
    probe.map(drop).map_err(|error| Error::unavailable(format!("ListenAddr: cannot listen on {listen}: {error}; choose another address with --listen-addr")))
}
