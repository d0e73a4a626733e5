//! Flows of datagrams between nodes: one end of one of them, and the ends on one connection.
//!
//! ```text
//!   datagram of the connection   u64 number of the flow's stream, little endian · bytes
//!   the flow's stream            { u32 length, little endian · bytes }*   what is too large for a packet
//! ```
//! Owns: which flow a datagram is for. Invariants: a flow lives as long as its stream; what waits for one is bounded, more is dropped, as a
//! full queue in the network would. Never: sends a datagram twice.

use super::Place;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use wsw_net::{Connection, RecvStream, SendStream};

/// Datagrams that wait for one flow.
const MAX_QUEUE: usize = 64;
/// Bytes before a datagram, in either form.
const NUMBER: usize = 8;
const LENGTH: usize = 4;
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;

/// The flows of one connection.
#[derive(Debug, Default)]
pub struct Flows(Mutex<BTreeMap<u64, mpsc::Sender<Bytes>>>);

impl Flows {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Bytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a datagram that came to its flow; one that nobody waits for is dropped.
    pub fn came(&self, mut datagram: Bytes) {
        let Some(number) = datagram.first_chunk::<NUMBER>().map(|bytes| u64::from_le_bytes(*bytes)) else { return };
        if let Some(queue) = self.lock().get(&number) {
            let _ = queue.try_send(datagram.split_off(NUMBER));
        }
    }
}

/// A connection between two nodes with its flows.
#[derive(Debug, Clone)]
pub struct Path {
    pub connection: Connection,
    pub flows: Arc<Flows>,
}

impl Path {
    pub fn new(connection: Connection) -> Self {
        Self { connection, flows: Arc::default() }
    }
}

/// This side's end of a flow.
pub struct Flow {
    path: Path,
    number: u64,
    send: SendStream,
    queue: mpsc::Receiver<Bytes>,
    _reading: AbortOnDropHandle<()>,
    _place: Place,
}

impl Flow {
    /// Over a stream on which the conversation is over.
    pub fn new(path: Path, send: SendStream, receive: RecvStream, place: Place) -> Self {
        let number = send.number();
        let (sender, queue) = mpsc::channel(MAX_QUEUE);
        path.flows.lock().insert(number, sender.clone());
        let flows = path.flows.clone();
        let reading = tokio::spawn(async move {
            read(receive, sender).await;
            // The queue ends with the stream.
            flows.lock().remove(&number);
        });
        Self { path, number, send, queue, _reading: AbortOnDropHandle::new(reading), _place: place }
    }

    /// Sends one datagram; false when the flow is over.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let mut datagram = BytesMut::with_capacity(NUMBER + bytes.len());
        datagram.put_u64_le(self.number);
        datagram.extend_from_slice(bytes);
        match self.path.connection.send_datagram(datagram.freeze()) {
            Ok(true) => true,
            Ok(false) => {
                let mut framed = BytesMut::with_capacity(LENGTH + bytes.len());
                framed.put_u32_le(u32::try_from(bytes.len()).unwrap_or(0));
                framed.extend_from_slice(bytes);
                self.send.write_chunk(framed.freeze()).await.is_ok()
            }
            Err(_) => false,
        }
    }

    /// The next datagram; none when the flow is over.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.queue.recv().await
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.path.flows.lock().remove(&self.number);
    }
}

async fn read(mut receive: RecvStream, queue: mpsc::Sender<Bytes>) {
    while let Some(datagram) = one(&mut receive).await {
        // Full: dropped like any other.
        let _ = queue.try_send(datagram);
    }
}

async fn one(receive: &mut RecvStream) -> Option<Bytes> {
    let header = exactly(receive, LENGTH).await?;
    let length = header.first_chunk::<LENGTH>().map(|bytes| u32::from_le_bytes(*bytes) as usize)?;
    if length > MAX_DATAGRAM { None } else { exactly(receive, length).await }
}

async fn exactly(receive: &mut RecvStream, length: usize) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        bytes.extend_from_slice(&receive.read(length - bytes.len()).await.ok()??);
    }
    Some(bytes.freeze())
}
