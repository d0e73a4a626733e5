//! Parts of images between nodes: what this node gives out, and where it asks.
//!
//! Owns: the conversation on a `blob` stream (one request, one answer, then the bytes). Invariants: only what some image here needs is given
//! out; bulk bytes are dialled from a socket of their own. Never: trusts what comes (the image store verifies it).

use super::member::Record;
use super::network::Network;
use async_trait::async_trait;
use bytes::Bytes;
use std::io::{self, SeekFrom};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::task::JoinSet;
use wsw_api::join::{BlobAnswer, BlobRequest, MAX_BLOB_FRAME};
use wsw_net::{Connection, Error, FrameReceiver, FrameSender, Handler, Protocol, RecvStream, SendStream, Whom};
use wsw_runtime::Wasm;
use wsw_runtime::images::{BlobReader, Peers};

/// A stream that says nothing for so long is given up.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// One look at one peer: a dial, a request, an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes that are read from the disk at a time.
const PIECE: usize = 64 << 10;

/// Gives out parts of this node's images.
pub struct Giver(pub Arc<Wasm>);

#[async_trait]
impl Handler for Giver {
    async fn serve(&self, connection: Connection) {
        // As many at a time as the protocol grants streams; all of them end with the connection.
        let mut running = JoinSet::new();
        while let Ok((send, receive)) = connection.accept().await {
            while running.try_join_next().is_some() {}
            let wasm = self.0.clone();
            running.spawn(async move {
                if let Err(error) = give(&wasm, send, receive).await {
                    tracing::debug!(%error, "a blob was not given out to its end");
                }
            });
        }
    }
}

async fn give(wasm: &Wasm, send: SendStream, receive: RecvStream) -> Result<(), Error> {
    let asked = tokio::time::timeout(FIRST_FRAME, FrameReceiver::<BlobRequest>::new(receive, MAX_BLOB_FRAME).only()).await;
    let request = asked.map_err(|_| Error::Frame("no request came in time".into()))??;
    let found = wasm.images().open_blob(&request.digest).await.map_err(|error| Error::Lost(error.message))?;
    let mut answer = FrameSender::<BlobAnswer>::new(send, MAX_BLOB_FRAME);
    let Some((file, size)) = found else {
        answer.send(&BlobAnswer::Missing).await?;
        return answer.finish().await;
    };
    answer.send(&BlobAnswer::Found { size }).await?;
    let mut stream = answer.into_stream();
    let mut file = tokio::fs::File::from_std(file);
    let local = |error: io::Error| Error::Lost(format!("blob {}: {error}", request.digest));
    file.seek(SeekFrom::Start(request.offset)).await.map_err(local)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if (&mut file).take(PIECE as u64).read_to_end(&mut piece).await.map_err(local)? == 0 {
            return stream.finish().await;
        }
        stream.write_chunk(Bytes::from(piece)).await?;
    }
}

/// The managers, as those that have every image which was loaded into the cluster.
pub struct Managers {
    pub network: Arc<Network>,
    pub record: Arc<Record>,
}

#[async_trait]
impl Peers for Managers {
    async fn open(&self, digest: &str, offset: u64) -> io::Result<Option<(u64, BlobReader)>> {
        let mut failure = None;
        for addr in &self.record.managers() {
            match tokio::time::timeout(ANSWER, self.ask(*addr, digest, offset)).await {
                Ok(Ok(Some((size, stream)))) => return Ok(Some((size, Box::new(stream)))),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => failure = Some(error.to_string()),
                Err(_) => failure = Some(format!("{addr}: no answer in time")),
            }
        }
        failure.map_or(Ok(None), |failure| Err(io::Error::other(failure)))
    }
}

impl Managers {
    /// A connection for each blob: it ends with the last stream that reads from it, and costs a node nothing in between.
    async fn ask(&self, addr: SocketAddr, digest: &str, offset: u64) -> Result<Option<(u64, RecvStream)>, Error> {
        let bulk = self.network.bulk().ok_or_else(|| Error::Lost("this node has no identity".into()))?;
        let connection = bulk.dial(addr, Whom::Manager, Protocol::Blob).await?;
        let (send, receive) = connection.open().await?;
        let mut request = FrameSender::<BlobRequest>::new(send, MAX_BLOB_FRAME);
        request.send(&BlobRequest { digest: digest.to_owned(), offset }).await?;
        let mut answer = FrameReceiver::<BlobAnswer>::new(receive, MAX_BLOB_FRAME);
        match answer.next().await? {
            Some(BlobAnswer::Found { size }) => Ok(Some((size, answer.into_stream()))),
            Some(BlobAnswer::Missing) => Ok(None),
            None => Err(Error::Frame("it ended without an answer".into())),
        }
    }
}
