//! Where this node asks for parts of images: the other nodes of the cluster.
//!
//! Owns: whom it asks and in which order (`order`), the asking side of a `blob` stream. Invariants: several are looked at together, one gives;
//! each node begins elsewhere, so that many which want the same blob do not all begin at one; bulk bytes are dialled from a socket of their
//! own. Never: trusts what comes (the image store verifies it).

use super::member::Record;
use super::network::Network;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wsw_api::NodeId;
use wsw_api::join::{BlobAnswer, BlobRequest, MAX_BLOB_FRAME};
use wsw_api::spec::NodeRole;
use wsw_net::{Connection, Error, FrameReceiver, FrameSender, Protocol, RecvStream, Whom};
use wsw_runtime::images::{Given, Peers};
use wsw_worker::relay::Relay;

/// Nodes that are looked at together.
const AT_ONCE: usize = 8;
/// Workers that are asked for one blob, beside all managers: in a larger cluster some of those that have it are among them soon.
const MAX_WORKERS: usize = 48;
/// One look at one node: a dial, a request, an answer. It is there at once or not worth waiting for.
const LOOK: Duration = Duration::from_secs(3);

/// The other nodes.
pub struct Others {
    pub network: Arc<Network>,
    pub record: Arc<Record>,
    pub relay: Arc<Relay>,
}

/// A node that may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    addr: SocketAddr,
    /// None for a manager that is known by its address alone.
    node: Option<NodeId>,
    role: NodeRole,
}

impl Source {
    fn whom(&self) -> Whom {
        self.node.map_or(Whom::Manager, Whom::Node)
    }
}

/// Whom a node asks for a blob: all managers and some workers, each node in an order of its own.
fn order(own: SocketAddr, digest: &str, known: Vec<Source>) -> Vec<Source> {
    let place = |source: &Source| {
        let mut hasher = DefaultHasher::new();
        (own, digest, source.addr).hash(&mut hasher);
        hasher.finish()
    };
    let (managers, mut workers): (Vec<Source>, Vec<Source>) = known.into_iter().partition(|source| source.role == NodeRole::Manager);
    workers.sort_by_key(place);
    workers.truncate(MAX_WORKERS);
    let mut all = [managers, workers].concat();
    all.sort_by_key(place);
    all
}

impl Others {
    fn sources(&self, digest: &str, avoid: &BTreeSet<String>) -> Vec<Source> {
        let own = self.record.get();
        let mut known: BTreeMap<SocketAddr, Source> = BTreeMap::new();
        for addr in self.record.managers() {
            known.insert(addr, Source { addr, node: None, role: NodeRole::Manager });
        }
        for peer in self.relay.routes().peers().borrow().values().filter(|peer| peer.node != own.node) {
            known.insert(peer.addr, Source { addr: peer.addr, node: Some(peer.node), role: peer.role });
        }
        let known = known.into_values().filter(|source| !avoid.contains(&source.addr.to_string())).collect();
        order(own.advertise, digest, known)
    }

    /// Whether a node could give it now.
    async fn look(&self, source: Source, digest: &str) -> (Source, Result<(Connection, BlobAnswer), Error>) {
        let asked = async {
            let bulk = self.network.bulk().ok_or_else(|| Error::Lost("this node has no identity".into()))?;
            let connection = bulk.dial(source.addr, source.whom(), Protocol::Blob).await?;
            let (answer, _) = ask(&connection, BlobRequest { digest: digest.to_owned(), offset: 0, look: true }).await?;
            Ok((connection, answer))
        };
        let asked = tokio::time::timeout(LOOK, asked).await;
        (source, asked.unwrap_or_else(|_| Err(Error::Lost("no answer in time".into()))))
    }
}

/// One question; the bytes follow on the stream.
async fn ask(connection: &Connection, request: BlobRequest) -> Result<(BlobAnswer, RecvStream), Error> {
    let (send, receive) = connection.open().await?;
    let mut sender = FrameSender::<BlobRequest>::new(send, MAX_BLOB_FRAME);
    sender.send(&request).await?;
    let mut answer = FrameReceiver::<BlobAnswer>::new(receive, MAX_BLOB_FRAME);
    let found = answer.next().await?.ok_or_else(|| Error::Frame("it ended without an answer".into()))?;
    Ok((found, answer.into_stream()))
}

#[async_trait]
impl Peers for Others {
    async fn open(&self, digest: &str, offset: u64, avoid: &BTreeSet<String>) -> io::Result<Option<Given>> {
        let mut waiting = self.sources(digest, avoid).into_iter();
        let mut looks: FuturesUnordered<_> = waiting.by_ref().take(AT_ONCE).map(|source| self.look(source, digest)).collect();
        let (mut busy, mut failure) = (false, None);
        while let Some((source, looked)) = looks.next().await {
            let asked = match looked {
                Ok((connection, BlobAnswer::Found { .. })) => {
                    let request = BlobRequest { digest: digest.to_owned(), offset, look: false };
                    tokio::time::timeout(LOOK, ask(&connection, request)).await.unwrap_or_else(|_| Err(Error::Lost("no answer in time".into()))).map(Some)
                }
                Ok((_, BlobAnswer::Busy)) => {
                    busy = true;
                    Ok(None)
                }
                Ok((_, BlobAnswer::Missing)) => Ok(None),
                Err(error) => Err(error),
            };
            match asked {
                Ok(Some((BlobAnswer::Found { size }, stream))) => return Ok(Some(Given { size, from: source.addr.to_string(), bytes: Box::new(stream) })),
                Ok(Some((BlobAnswer::Busy, _))) => busy = true,
                Ok(_) => {}
                Err(error) => failure = Some(format!("{}: {error}", source.addr)),
            }
            looks.extend(waiting.next().map(|source| self.look(source, digest)));
        }
        match failure {
            _ if busy => Err(io::Error::new(io::ErrorKind::ResourceBusy, "the nodes that have it are giving it to others")),
            Some(failure) => Err(io::Error::other(failure)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_managers_are_asked_and_each_node_begins_elsewhere() {
        let addr = |number: u16| SocketAddr::from(([10, 0, 0, 1], number));
        let known: Vec<Source> =
            (1..=500).map(|number| Source { addr: addr(number), node: None, role: if number <= 3 { NodeRole::Manager } else { NodeRole::Worker } }).collect();
        let mut first = BTreeSet::new();
        for own in 1..=40 {
            let asked = order(addr(own), "sha256:a", known.clone());
            assert_eq!(asked.len(), 3 + MAX_WORKERS);
            assert_eq!(asked.iter().filter(|source| source.role == NodeRole::Manager).count(), 3);
            assert_eq!(asked, order(addr(own), "sha256:a", known.clone()));
            first.insert(asked[0].addr);
        }
        assert!(first.len() > 20, "{first:?}");
    }
}
