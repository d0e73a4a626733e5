//! Streams of files: wasmtime-wasi's, which keep their file's place and take turns.
//!
//! Invariant: a turn is held while a read or a write is under way and not while its outcome waits to be fetched, so a guest with many
//! streams does not wait for itself.

use super::TaskFiles;
use crate::quota::Permit;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamResult};

/// Reads a file.
pub struct FileInput {
    inner: DynInputStream,
    files: Arc<TaskFiles>,
    _place: Option<Arc<Permit>>,
    turn: Option<OwnedSemaphorePermit>,
}

impl FileInput {
    pub fn new(inner: DynInputStream, files: Arc<TaskFiles>, place: Option<Arc<Permit>>) -> Self {
        Self { inner, files, _place: place, turn: None }
    }
}

#[async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {
        // Nothing is begun before: a stream without a turn only has to wait for one.
        if self.turn.is_none() {
            self.turn = self.files.turn().await;
        }
        self.inner.ready().await;
        self.turn = None;
    }
}

#[async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.turn.is_none() {
            self.turn = self.files.calls.clone().try_acquire_owned().ok();
        }
        if self.turn.is_none() {
            return Ok(Bytes::new());
        }
        let read = self.inner.read(size);
        if !matches!(&read, Ok(bytes) if bytes.is_empty()) {
            self.turn = None;
        }
        read
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let _turn = match self.turn.take() {
            Some(turn) => Some(turn),
            None => self.files.turn().await,
        };
        self.inner.blocking_read(size).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
        self.turn = None;
    }
}

/// Writes a file.
pub struct FileOutput {
    inner: DynOutputStream,
    files: Arc<TaskFiles>,
    _place: Option<Arc<Permit>>,
    turn: Option<OwnedSemaphorePermit>,
}

impl FileOutput {
    pub fn new(inner: DynOutputStream, files: Arc<TaskFiles>, place: Option<Arc<Permit>>) -> Self {
        Self { inner, files, _place: place, turn: None }
    }
}

#[async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {
        self.inner.ready().await;
        self.turn = None;
        // A write may be allowed now; it takes its turn when it begins.
        drop(self.files.turn().await);
    }
}

#[async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.turn = self.files.calls.clone().try_acquire_owned().ok();
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let allowed = self.inner.check_write()?;
        if allowed > 0 {
            self.turn = None;
        }
        Ok(if self.files.calls.available_permits() == 0 { 0 } else { allowed })
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.inner.ready().await;
        self.turn = None;
        let _turn = self.files.turn().await;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
        self.turn = None;
    }
}
