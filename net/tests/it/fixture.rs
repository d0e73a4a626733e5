//! A certificate authority for tests, and nodes on addresses of their own.

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use wsw_api::{ClusterId, NodeId};
use wsw_net::{Connection, Credentials, Endpoint, Error, Gate, Handler, Handlers, Peer, Protocol};

/// The longest wait for anything.
pub const BOUND: Duration = Duration::from_secs(60);

pub struct Authority {
    pub root: String,
    key: KeyPair,
    cluster: ClusterId,
}

/// What a certificate says, where it differs from a good manager's.
pub struct Claim {
    pub role: &'static str,
    pub from: time::Duration,
    pub until: time::Duration,
}

pub const MANAGER: Claim = Claim { role: "swarm-manager", from: time::Duration::hours(-1), until: time::Duration::hours(1) };
pub const WORKER: Claim = Claim { role: "swarm-worker", ..MANAGER };

impl Authority {
    pub fn new(cluster: u8) -> Self {
        let key = KeyPair::generate().unwrap();
        let root = root_params().self_signed(&key).unwrap().pem();
        Self { root, key, cluster: ClusterId::from_bytes([cluster; 16]) }
    }

    pub fn issue(&self, node: u8, claim: &Claim) -> Credentials {
        let id = node_id(node);
        let mut params = CertificateParams::new([id.to_string(), claim.role.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, self.cluster.to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, claim.role);
        params.distinguished_name.push(DnType::CommonName, id.to_string());
        params.not_before = OffsetDateTime::now_utc() + claim.from;
        params.not_after = OffsetDateTime::now_utc() + claim.until;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::from_params(&root_params(), &self.key)).unwrap();
        Credentials::from_pem(&self.root, &certificate.pem(), &key.serialize_pem()).unwrap()
    }
}

fn root_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "swarm-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params
}

pub fn node_id(node: u8) -> NodeId {
    NodeId::from_bytes([node; 16])
}

/// A loopback address that no other test uses, with any port.
pub fn addr() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    SocketAddr::from(([127, 0, 44, NEXT.fetch_add(1, Ordering::Relaxed)], 0))
}

/// Lets in whom it was not told to refuse.
#[derive(Default)]
pub struct List(pub Mutex<Vec<NodeId>>);

impl Gate for List {
    fn admit(&self, peer: &Peer, _: Protocol) -> Result<(), Error> {
        let removed = self.0.lock().unwrap().contains(&peer.node);
        if removed { Err(Error::Refused(format!("node {} was removed", peer.node))) } else { Ok(()) }
    }
}

/// Sends every byte back, stream by stream; a stream that breaks ends its connection.
pub struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn serve(&self, connection: Connection) {
        while let Ok((mut send, mut receive)) = connection.accept().await {
            tokio::spawn(async move {
                while let Ok(Some(bytes)) = receive.read(64 << 10).await {
                    if send.write_chunk(bytes).await.is_err() {
                        return;
                    }
                }
                let _ = send.finish().await;
            });
        }
    }
}

pub fn handlers(protocols: &[Protocol]) -> Handlers {
    protocols.iter().map(|protocol| (*protocol, Arc::new(Echo) as Arc<dyn Handler>)).collect::<BTreeMap<_, _>>()
}

/// A manager that echoes.
pub fn manager(authority: &Authority) -> (Endpoint, SocketAddr, Arc<List>) {
    let gate = Arc::new(List::default());
    let endpoint = Endpoint::listen(addr(), authority.issue(1, &MANAGER), handlers(&Protocol::ALL), gate.clone()).unwrap();
    let at = endpoint.addr().unwrap();
    (endpoint, at, gate)
}

/// A question and its echo on a new stream.
pub async fn echo(connection: &Connection, bytes: &[u8]) -> Result<Vec<u8>, wsw_net::Error> {
    let (mut send, mut receive) = connection.open().await?;
    send.write(bytes).await?;
    let ended = tokio::spawn(send.finish());
    let mut answer = Vec::new();
    while let Some(piece) = receive.read(64 << 10).await? {
        answer.extend_from_slice(&piece);
    }
    let _ = ended.await;
    Ok(answer)
}

/// No test waits for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what}: not within {BOUND:?}"))
}
