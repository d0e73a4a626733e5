//! Docker's multiplexed streams: an 8-byte header (stream, 0, 0, 0, length big-endian) before each piece of output.
//!
//! Owns: the frame and the prefixes of a log line. Never: reads logs.

use crate::convert::time;
use bytes::{BufMut, Bytes, BytesMut};
use wsw_api::log::{Line, Stream};

/// Which stream a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Channel {
    Stdout = 1,
    Stderr = 2,
    /// The daemon's own words about the stream; the CLI fails with them.
    SystemError = 3,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Frames; false for a terminal's raw bytes.
    pub framed: bool,
    /// Time before the line.
    pub timestamps: bool,
}

/// One frame.
pub fn frame(channel: Channel, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(8 + length);
    out.put_slice(&[channel as u8, 0, 0, 0]);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    parts.iter().for_each(|part| out.put_slice(part));
    out.freeze()
}

/// One log line as the client asked for it, with its details if it wants them.
pub fn line(line: &Line, details: Option<&str>, layout: Layout) -> Bytes {
    let mut prefix = String::new();
    if layout.timestamps {
        prefix.push_str(&time::fixed(line.time));
        prefix.push(' ');
    }
    if let Some(details) = details {
        prefix.push_str(details);
        prefix.push(' ');
    }
    let channel = match line.stream {
        Stream::Stdout => Channel::Stdout,
        Stream::Stderr => Channel::Stderr,
    };
    write(channel, &[prefix.as_bytes(), &line.text], layout)
}

/// A warning at the end of a stream.
pub fn warning(text: &str, layout: Layout) -> Bytes {
    write(Channel::SystemError, &[b"Error grabbing logs: ", text.as_bytes(), b"\n"], layout)
}

fn write(channel: Channel, parts: &[&[u8]], layout: Layout) -> Bytes {
    if layout.framed { frame(channel, parts) } else { Bytes::from(parts.concat()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wsw_api::{NodeId, ServiceId, TaskId, Time};

    #[test]
    fn a_line_is_framed_with_its_prefixes() {
        let record = Line {
            time: Time(1_700_000_000_120_000_000),
            stream: Stream::Stderr,
            node: NodeId::from_bytes([1; 16]),
            service: ServiceId::from_bytes([2; 16]),
            task: TaskId::from_bytes([3; 16]),
            text: b"hello\n".to_vec(),
        };
        let layout = Layout { framed: true, timestamps: true };
        let bytes = line(&record, Some("a=b"), layout);
        let text = String::from_utf8(bytes[8..].to_vec()).unwrap();
        assert_eq!(bytes[..4], [2, 0, 0, 0]);
        assert_eq!(u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize, text.len());
        assert_eq!(text, "2023-11-14T22:13:20.120000000Z a=b hello\n");
        let raw = line(&record, None, Layout { framed: false, timestamps: false });
        assert_eq!(raw, &b"hello\n"[..]);
        assert_eq!(line(&record, Some(""), Layout { framed: false, timestamps: false }), &b" hello\n"[..], "as moby");
    }
}
