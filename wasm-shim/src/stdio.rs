//! A guest's stdout and stderr: streams that end in the task's log.
//!
//! Owns: the line that a stream has begun. Invariant: a guest that writes faster than the disk waits; it is never told that it wrote what
//! was not taken. Each instance has streams of its own, so that lines of concurrent requests do not mix.

use crate::{
    cpu::since_start,
    cri::{LineCutter, Records},
    log_rate::LogRate,
    logs::{Log, Logs},
};
use bytes::Bytes;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Instant, SystemTime},
};
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError},
};
use wsw_api::log::Stream;

/// Largest single write that is taken at once.
const MAX_WRITE: usize = 64 << 10;

/// Where the lines of one task go.
#[derive(Clone)]
pub struct Sink {
    logs: Arc<Logs>,
    log: Arc<Log>,
    rate: Arc<LogRate>,
}

impl Sink {
    pub fn new(logs: Arc<Logs>, log: Arc<Log>) -> Self {
        Self { logs, log, rate: Arc::default() }
    }

    /// Has `write` append records of the task's guests, within the task's rate: past it they are dropped and counted.
    fn append(&self, write: impl FnOnce(&mut Records)) {
        self.logs.append(&self.log, |out| {
            let before = out.bytes.len();
            write(out);
            if !self.rate.admit(out.bytes.get(before..).unwrap_or_default(), since_start(Instant::now())) {
                out.bytes.truncate(before);
            } else if let Some(text) = self.rate.news() {
                own_line(&text, out);
            }
        });
    }

    /// The line about what the rate dropped, if it did.
    pub fn tell_dropped(&self) {
        if let Some(text) = self.rate.news() {
            self.logs.append(&self.log, |out| own_line(&text, out));
        }
    }

    /// A new stream into the log.
    pub fn stream(&self, stream: Stream) -> TaskStream {
        TaskStream(Arc::new(Begun { sink: self.clone(), cutter: Mutex::new(LineCutter::new(stream)) }))
    }

    /// A line of the shim's own on the task's stderr. Left out when the log has no room: the guest's lines go first.
    pub fn note(&self, text: &str) {
        if self.logs.room(&self.log) > 0 {
            self.logs.append(&self.log, |out| own_line(text, out));
        }
    }

    /// The task is gone.
    pub fn close(&self) {
        self.logs.close_log(&self.log);
    }
}

/// A record of the shim's own.
fn own_line(text: &str, out: &mut Records) {
    let mut cutter = LineCutter::new(Stream::Stderr);
    cutter.push(text.as_bytes(), SystemTime::now(), out);
    cutter.finish(SystemTime::now(), out);
}

struct Begun {
    sink: Sink,
    cutter: Mutex<LineCutter>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let cutter = self.cutter.get_mut().unwrap_or_else(PoisonError::into_inner);
        if cutter.has_begun() {
            self.sink.append(|out| cutter.finish(SystemTime::now(), out));
        }
    }
}

/// One output stream of one instance. Clones share the line that was begun.
#[derive(Clone)]
pub struct TaskStream(Arc<Begun>);

impl TaskStream {
    fn room(&self) -> usize {
        self.0.sink.logs.room(&self.0.sink.log).min(MAX_WRITE)
    }

    fn put(&self, bytes: &[u8]) {
        let mut cutter = self.0.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.sink.append(|out| cutter.push(bytes, SystemTime::now(), out));
    }
}

impl IsTerminal for TaskStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for TaskStream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// For WASI 0.3, which is not linked yet; the trait asks for it.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(AsyncStream { stream: self.clone(), waiting: None })
    }
}

#[async_trait::async_trait]
impl Pollable for TaskStream {
    async fn ready(&mut self) {
        self.0.sink.logs.wait_for_room(&self.0.sink.log).await;
    }
}

impl OutputStream for TaskStream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.put(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(self.room())
    }
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

struct AsyncStream {
    stream: TaskStream,
    waiting: Option<Waiting>,
}

impl tokio::io::AsyncWrite for AsyncStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                std::task::ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let room = self.stream.room();
            if room > 0 || bytes.is_empty() {
                let now = bytes.get(..room).unwrap_or(bytes);
                self.stream.put(now);
                return Poll::Ready(Ok(now.len()));
            }
            let sink = self.stream.0.sink.clone();
            self.waiting = Some(Box::pin(async move { sink.logs.wait_for_room(&sink.log).await }));
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_writer_that_is_faster_than_the_disk_waits_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.log");
        let (logs, thread) = Logs::start().unwrap();
        let sink = Sink::new(logs.clone(), logs.open(path.clone(), wsw_api::log::Bounds::default()));
        let mut stream = Box::into_pin(sink.stream(Stream::Stdout).async_stream());
        let line = [b'x'; 9_999];
        for _ in 0..200 {
            stream.write_all(&line).await.unwrap();
            stream.write_all(b"\n").await.unwrap();
        }
        drop(stream);
        let mut blocking = sink.stream(Stream::Stderr);
        blocking.blocking_write_and_flush(Bytes::from(vec![b'y'; 300_000])).await.unwrap();
        drop(blocking);
        logs.close();
        thread.join().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let bytes = |stream: &str| text.lines().filter_map(|line| line.split_once(stream)).map(|(_, rest)| rest.len() - 3).sum::<usize>();
        assert_eq!(bytes(" stdout"), 200 * line.len());
        assert_eq!(bytes(" stderr"), 300_000);
    }
}
