//! Frames on a stream: four bytes of length (little endian), then MessagePack with named fields.
//!
//! Invariants: a frame longer than the stream's bound is refused before it is read; memory is taken for what has come, not for what a
//! length claims; bytes after a frame's value are a fault. Unknown fields are tolerated, so a peer may be one version newer.

use crate::error::Error;
use crate::stream::{RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Cursor;
use std::marker::PhantomData;

/// Bytes that are read of a frame at a time.
const PIECE: usize = 64 << 10;
/// A buffer that one large frame has grown is let go above this.
const KEPT: usize = 256 << 10;

/// Sends frames of one kind.
pub struct FrameSender<T> {
    stream: SendStream,
    limit: usize,
    buffer: Vec<u8>,
    kind: PhantomData<fn(&T)>,
}

impl<T: Serialize> FrameSender<T> {
    /// Frames of at most `limit` bytes.
    pub fn new(stream: SendStream, limit: usize) -> Self {
        Self { stream, limit, buffer: Vec::new(), kind: PhantomData }
    }

    /// Sends one; waits while the other side does not read.
    pub async fn send(&mut self, frame: &T) -> Result<(), Error> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; 4]);
        rmp_serde::encode::write_named(&mut self.buffer, frame).map_err(|error| Error::Frame(format!("a frame cannot be written: {error}")))?;
        let length = self.buffer.len() - 4;
        let header = u32::try_from(length).ok().filter(|_| length <= self.limit);
        let header = header.ok_or_else(|| Error::Frame(format!("a frame of {length} bytes; at most {} are sent", self.limit)))?;
        if let Some(place) = self.buffer.first_chunk_mut::<4>() {
            *place = header.to_le_bytes();
        }
        let sent = self.stream.write(&self.buffer).await;
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        sent
    }

    /// The stream beneath, for what follows the frames.
    pub fn into_stream(self) -> SendStream {
        self.stream
    }

    /// Ends the stream; answers once the other side has all of it.
    pub async fn finish(self) -> Result<(), Error> {
        self.stream.finish().await
    }
}

/// Receives frames of one kind.
pub struct FrameReceiver<T> {
    stream: RecvStream,
    limit: usize,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> FrameReceiver<T> {
    /// Frames of at most `limit` bytes.
    pub fn new(stream: RecvStream, limit: usize) -> Self {
        Self { stream, limit, kind: PhantomData }
    }

    /// The next one; none when the other side has finished. Not to be cancelled in between: a part of a frame would be lost.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        let mut header = Vec::with_capacity(4);
        while header.len() < 4 {
            match self.stream.read(4 - header.len()).await? {
                Some(bytes) => header.extend_from_slice(&bytes),
                None if header.is_empty() => return Ok(None),
                None => return Err(Error::Frame("the stream ended within a frame's length".into())),
            }
        }
        let length = header.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        if length > self.limit {
            return Err(Error::Frame(format!("a frame of {length} bytes; at most {} are taken", self.limit)));
        }
        let mut body = Vec::with_capacity(length.min(PIECE));
        while body.len() < length {
            let bytes = self.stream.read((length - body.len()).min(PIECE)).await?;
            body.extend_from_slice(&bytes.ok_or_else(|| Error::Frame(format!("the stream ended after {} of a frame's {length} bytes", body.len())))?);
        }
        decode(&body).map(Some)
    }

    /// The one frame of a stream on which no more than one comes; its end is left unread.
    pub async fn only(mut self) -> Result<T, Error> {
        self.next().await?.ok_or_else(|| Error::Frame("the stream ended before its frame".into()))
    }

    /// The stream beneath, for what follows the frames.
    pub fn into_stream(self) -> RecvStream {
        self.stream
    }
}

/// One value and nothing after it.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(body));
    let value = T::deserialize(&mut reader).map_err(|error| Error::Frame(format!("a frame cannot be read: {error}")))?;
    let left = body.len() as u64 - reader.position();
    if left == 0 { Ok(value) } else { Err(Error::Frame(format!("{left} bytes follow a frame's value"))) }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use std::sync::Arc;
    use wsw_api::session::{Goodbye, ManagerFrame, WorkerFrame};

    #[test]
    fn what_is_written_is_read() {
        let frames = [
            WorkerFrame::Heartbeat,
            WorkerFrame::Goodbye(Goodbye::Leaving),
            WorkerFrame::Describe(Arc::default()),
            WorkerFrame::Statuses { seq: 7, rows: Vec::new() },
        ];
        for frame in frames {
            assert_eq!(decode::<WorkerFrame>(&rmp_serde::to_vec_named(&frame).unwrap()).unwrap(), frame);
        }
    }

    #[test]
    fn spoilt_frames_are_refused_without_a_panic() {
        let whole = rmp_serde::to_vec_named(&ManagerFrame::Assignments(wsw_api::session::Assignments::default())).unwrap();
        for end in 0..whole.len() {
            assert!(decode::<ManagerFrame>(&whole[..end]).is_err(), "{end} bytes");
        }
        let longer = [&whole[..], &[0xc0]].concat();
        assert!(decode::<ManagerFrame>(&longer).unwrap_err().to_string().contains("follow"));
        // A fixed sequence of bytes that nobody chose.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..state % 64)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as u8
                })
                .collect();
            state = state.wrapping_add(1);
            let _ = decode::<ManagerFrame>(&bytes);
            let _ = decode::<WorkerFrame>(&bytes);
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(decode::<ManagerFrame>(&vec![0x91; 1 << 20]).is_err());
    }

    #[test]
    fn a_newer_peers_fields_are_passed_over() {
        #[derive(serde::Serialize)]
        enum Newer {
            Welcome { session: wsw_api::SessionId, heartbeat_ns: u64, mood: &'static str },
        }
        let bytes = rmp_serde::to_vec_named(&Newer::Welcome { session: wsw_api::SessionId::default(), heartbeat_ns: 5, mood: "good" }).unwrap();
        assert_eq!(decode::<ManagerFrame>(&bytes).unwrap(), ManagerFrame::Welcome { session: wsw_api::SessionId::default(), heartbeat_ns: 5 });
    }
}
