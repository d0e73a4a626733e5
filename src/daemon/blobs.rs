//! Parts of images for other nodes.
//!
//! Owns: the giving side of a `blob` stream (one request, one answer, then the bytes). Invariants: only what some image here needs is given
//! out; large blobs go to few nodes at a time, and those pass them on, so that many nodes that want the same one do not all get it from here.

use async_trait::async_trait;
use bytes::Bytes;
use std::io::{self, SeekFrom};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use wsw_api::join::{BlobAnswer, BlobRequest, MAX_BLOB_FRAME};
use wsw_net::{Connection, Error, FrameReceiver, FrameSender, Handler, RecvStream, SendStream};
use wsw_runtime::Wasm;

/// A stream that says nothing for so long is given up.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// Large blobs that go out at a time: two nodes at full speed have it sooner than eight at a quarter, and then there are three that give.
const UPLOADS: usize = 2;
/// Less is given to anybody at once.
const SMALL: u64 = 256 << 10;
/// A place is free this long after its blob: by then the node that got it gives it, too, and is found as soon as this one.
const REST: Duration = Duration::from_secs(1);
/// Bytes that are read from the disk at a time.
const PIECE: usize = 64 << 10;

/// Gives out parts of this node's images.
#[derive(Clone)]
pub struct Giver {
    wasm: Arc<Wasm>,
    uploads: Arc<Semaphore>,
}

impl Giver {
    pub fn new(wasm: Arc<Wasm>) -> Self {
        Self { wasm, uploads: Arc::new(Semaphore::new(UPLOADS)) }
    }
}

#[async_trait]
impl Handler for Giver {
    async fn serve(&self, connection: Connection) {
        // As many at a time as the protocol grants streams; all of them end with the connection.
        let mut running = JoinSet::new();
        while let Ok((send, receive)) = connection.accept().await {
            while running.try_join_next().is_some() {}
            let giver = self.clone();
            running.spawn(async move {
                if let Err(error) = give(&giver, send, receive).await {
                    tracing::debug!(%error, "a blob was not given out to its end");
                }
            });
        }
    }
}

async fn give(giver: &Giver, send: SendStream, receive: RecvStream) -> Result<(), Error> {
    let asked = tokio::time::timeout(FIRST_FRAME, FrameReceiver::<BlobRequest>::new(receive, MAX_BLOB_FRAME).only()).await;
    let request = asked.map_err(|_| Error::Frame("no request came in time".into()))??;
    let found = giver.wasm.images().open_blob(&request.digest).await.map_err(|error| Error::Lost(error.message))?;
    let mut answer = FrameSender::<BlobAnswer>::new(send, MAX_BLOB_FRAME);
    let Some((file, size)) = found else {
        answer.send(&BlobAnswer::Missing).await?;
        return answer.finish().await;
    };
    let place = if size.saturating_sub(request.offset) > SMALL { giver.uploads.clone().try_acquire_owned().map(Some) } else { Ok(None) };
    let Ok(place) = place else {
        answer.send(&BlobAnswer::Busy).await?;
        return answer.finish().await;
    };
    answer.send(&BlobAnswer::Found { size }).await?;
    if request.look {
        return answer.finish().await;
    }
    let mut upload = Upload { blob: request.digest.clone(), sent: 0, place };
    copy(&request, file, answer.into_stream(), &mut upload.sent).await
}

/// One blob on its way. It ends with its connection, which the node that asked closes as soon as it has all.
struct Upload {
    blob: String,
    sent: u64,
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        tracing::info!(blob = self.blob, sent = self.sent, "gave a part of an image to another node");
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(REST).await;
                drop(place);
            });
        }
    }
}

async fn copy(request: &BlobRequest, file: std::fs::File, mut stream: SendStream, sent: &mut u64) -> Result<(), Error> {
    let mut file = tokio::fs::File::from_std(file);
    let local = |error: io::Error| Error::Lost(format!("blob {}: {error}", request.digest));
    file.seek(SeekFrom::Start(request.offset)).await.map_err(local)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece).await.map_err(local)?;
        if read == 0 {
            return stream.finish().await;
        }
        stream.write_chunk(Bytes::from(piece)).await?;
        *sent += read as u64;
    }
}
