//! `swarm join`: this node becomes part of a cluster that exists; and a new certificate for one that is.
//!
//! Owns: the order: look at what was asked, ask a manager for a certificate, write the identity, bind the port, then the membership record.
//! Invariant: what goes wrong before the record leaves this node as it was.

use super::host::Host;
use super::{DEFAULT_PORT, address};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wsw_api::join::{JoinAnswer, JoinRequest, Joined, MAX_JOIN_FRAME};
use wsw_api::spec::Availability;
use wsw_api::{Error, Result};
use wsw_dockerapi::backend::JoinSwarm;
use wsw_manager::identity::token::Token;
use wsw_manager::identity::{Identity, Secret, ca};
use wsw_net::{Close, Credentials, Endpoint, FrameReceiver, FrameSender, Protocol, Whom, dial_unknown};

/// moby's time-out of a join.
const JOIN: Duration = Duration::from_secs(20);
/// A manager has this long for a new certificate; then the next one is asked.
const RENEW: Duration = Duration::from_secs(5);
/// Addresses that one request may name.
const MAX_REMOTES: usize = 16;

/// A place at which to ask.
pub struct Asked {
    token: Token,
    remotes: Vec<SocketAddr>,
}

impl Asked {
    /// Checks what the user gave.
    pub async fn read(request: &JoinSwarm) -> Result<Self> {
        if request.remote_addrs.is_empty() {
            return Err(Error::invalid("at least 1 RemoteAddr is required to join"));
        }
        if request.remote_addrs.len() > MAX_REMOTES {
            return Err(Error::invalid(format!("RemoteAddrs: at most {MAX_REMOTES} are asked")));
        }
        let token = Token::parse(&request.join_token).ok_or_else(|| Error::invalid("invalid join token"))?;
        let mut remotes = Vec::new();
        for text in &request.remote_addrs {
            remotes.push(address::remote(text, DEFAULT_PORT).await.map_err(|error| Error::invalid(format!("{error:#}")))?);
        }
        Ok(Self { token, remotes })
    }

    /// The first place, for choosing an address that it can reach.
    pub fn first(&self) -> Option<SocketAddr> {
        self.remotes.first().copied()
    }

    /// Asks one after the other; the last refusal counts.
    pub async fn ask(self, request: &JoinSwarm, host: &Host, advertise: SocketAddr) -> Result<(Identity, Joined, Vec<SocketAddr>)> {
        let (csr, key) = ca::request().map_err(|error| Error::internal(error.to_string()))?;
        let question = JoinRequest {
            token: request.join_token.clone(),
            csr,
            hostname: host.hostname.clone(),
            addr: advertise.to_string(),
            availability: request.availability,
        };
        let mut last = Error::unavailable("no manager was asked");
        for remote in &self.remotes {
            let answered = tokio::time::timeout(JOIN, self.ask_one(*remote, &question)).await;
            match answered.unwrap_or_else(|_| Err(Error::unavailable("Timeout was reached before node joined."))) {
                Ok((joined, root)) => {
                    let mut managers: Vec<SocketAddr> = joined.managers.iter().filter_map(|addr| addr.parse().ok()).collect();
                    // What a manager says of itself may not be what reaches it from here; this does.
                    if !managers.contains(remote) {
                        managers.push(*remote);
                    }
                    return identity(joined, root, key).map(|(identity, joined)| (identity, joined, managers));
                }
                Err(error) if error.is_retryable() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn ask_one(&self, remote: SocketAddr, question: &JoinRequest) -> Result<(Joined, Vec<u8>)> {
        let said = |error: wsw_net::Error| self.in_swarms_words(error);
        let token = self.token.clone();
        let (connection, root) = dial_unknown(remote, Arc::new(move |sha256: &[u8; 32]| token.names(sha256))).await.map_err(said)?;
        let (send, receive) = connection.open().await.map_err(said)?;
        let mut send = FrameSender::<JoinRequest>::new(send, MAX_JOIN_FRAME);
        send.send(question).await.map_err(said)?;
        let answer = FrameReceiver::<JoinAnswer>::new(receive, MAX_JOIN_FRAME).only().await.map_err(said)?;
        connection.close(Close::Done, "");
        answer.map(|joined| (joined, root))
    }

    fn in_swarms_words(&self, error: wsw_net::Error) -> Error {
        match error {
            wsw_net::Error::Untrusted(_, reason) if reason.contains("fingerprint") => {
                Error::invalid(format!("error while validating Root CA Certificate: {reason}. Expected: {}", self.token.expected()))
            }
            wsw_net::Error::Unreachable(addr, reason) => {
                let text =
                    format!("rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial udp {addr}: {reason}\"");
                Error::unavailable(text)
            }
            wsw_net::Error::Refused(reason) => Error::unavailable(format!("rpc error: code = Unavailable desc = {reason}")),
            other => Error::unavailable(format!("rpc error: code = Unavailable desc = {other}")),
        }
    }
}

/// The request of a member for a new certificate of its key.
pub fn again(identity: &Identity) -> Result<JoinRequest> {
    let csr = ca::request_again(&identity.key.0).map_err(|error| Error::internal(error.to_string()))?;
    let (hostname, addr) = (String::new(), String::new());
    Ok(JoinRequest { token: String::new(), csr, hostname, addr, availability: Availability::Active })
}

/// Asks the managers, one after the other, for a new certificate of the same key, in the role that the state gives this node.
pub async fn renew(identity: &Identity, endpoint: &Endpoint, managers: &[SocketAddr]) -> Result<(Identity, Joined)> {
    let question = again(identity)?;
    let mut last = Error::unavailable("no manager was asked");
    for manager in managers {
        let asked = async {
            let connection = endpoint.dial(*manager, Whom::Manager, Protocol::Join).await?;
            let (send, receive) = connection.open().await?;
            let mut send = FrameSender::<JoinRequest>::new(send, MAX_JOIN_FRAME);
            send.send(&question).await?;
            let answer = FrameReceiver::<JoinAnswer>::new(receive, MAX_JOIN_FRAME).only().await?;
            connection.close(Close::Done, "");
            Ok::<_, wsw_net::Error>(answer)
        };
        match tokio::time::timeout(RENEW, asked).await {
            Ok(Ok(Ok(joined))) if joined.node == identity.node && joined.cluster == identity.cluster => {
                let renewed = Identity { certificate: joined.certificate.clone(), ..identity.clone() };
                let shown = Credentials::from_pem(&renewed.root, &renewed.certificate, &renewed.key.0);
                shown.and_then(|shown| shown.check()).map_err(|error| Error::unavailable(error.to_string()))?;
                return Ok((renewed, joined));
            }
            Ok(Ok(Ok(_))) => last = Error::unavailable("the certificate is another node's"),
            Ok(Ok(Err(refusal))) => last = refusal,
            Ok(Err(error)) => last = Error::unavailable(error.to_string()),
            Err(_) => last = Error::unavailable(format!("{manager}: no answer in time")),
        }
    }
    Err(last)
}

/// What came is held against what was asked for before anything is written.
fn identity(joined: Joined, root: Vec<u8>, key: String) -> Result<(Identity, Joined)> {
    let wrong = |what: &dyn std::fmt::Display| Error::unavailable(format!("the manager's answer cannot be used: {what}"));
    let root = pem(&root);
    let credentials = Credentials::from_pem(&root, &joined.certificate, &key).map_err(|error| wrong(&error))?;
    credentials.check().map_err(|error| wrong(&error))?;
    let own = credentials.own();
    if (own.node, own.cluster, own.role) != (joined.node, joined.cluster, joined.role) {
        return Err(wrong(&"its certificate names another node, cluster or role"));
    }
    let identity = Identity::new(joined.node, joined.cluster, root, joined.certificate.clone(), Secret(key));
    Ok((identity.map_err(|error| Error::internal(error.to_string()))?, joined))
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Writes the identity down; what an earlier swarm left is gone before.
pub fn save(identity: &Identity, data_root: &Path) -> Result<()> {
    wsw_manager::wipe(data_root).and_then(|()| identity.save(data_root)).map_err(|error| Error::internal(format!("the identity cannot be written: {error}")))
}
