//! A container's output: read from its FIFOs, written to its log in the format of `wsw_api::log`.
//!
//! Owns: the writing of one log, and the two readers. Invariants: the FIFOs are held open for writing too, so they never end and nothing is lost
//! while no daemon reads (they are full then, and the container waits); what was read is written at once, the piece of a line as a piece; the times of a log strictly
//! increase. When a task has ended the readers take what is left and end. Never: reads faster than the disk takes it.

use super::taps::Taps;
use crate::error::{Error, Result};
use crate::files;
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::unix::pipe::{OpenOptions as PipeOptions, Receiver};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wsw_api::log::{Bounds, HEAD, MAX_DRIFT, MAX_LINE, Stream, older_name};

/// What one read takes: a pipe's whole content.
const CHUNK: usize = 64 << 10;

/// The log of one container.
struct Log {
    path: PathBuf,
    bounds: Bounds,
    file: Option<(File, u64)>,
    /// Nanoseconds of the last record's time.
    last: i128,
    /// Records that the disk did not take.
    lost: u64,
}

impl Log {
    fn new(path: PathBuf, bounds: Bounds) -> Self {
        let last = last_time(&path).unwrap_or_default();
        Self { path, bounds, file: None, last, lost: 0 }
    }

    fn stamp(&mut self) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let next = self.last + 1;
        self.last = if now >= next || next - now > i128::from(MAX_DRIFT) { now } else { next };
        let at = OffsetDateTime::from_unix_timestamp_nanos(self.last).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, nanos) = (at.date(), at.nanosecond());
        format!("{date}T{:02}:{:02}:{:02}.{nanos:09}Z", at.hour(), at.minute(), at.second())
    }

    /// Writes a chunk as records; a line that goes on is a piece.
    fn take(&mut self, stream: Stream, chunk: &[u8]) {
        if self.bounds.keeps_nothing() {
            return;
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            let end = rest.iter().take(MAX_LINE + 1).position(|byte| *byte == b'\n');
            let (text, after, full) = match end {
                Some(end) => (rest.get(..end), rest.get(end + 1..), true),
                None => (rest.get(..rest.len().min(MAX_LINE)), rest.get(rest.len().min(MAX_LINE)..), false),
            };
            let mut record = format!("{} {} {} ", self.stamp(), stream.as_str(), if full { 'F' } else { 'P' }).into_bytes();
            record.extend_from_slice(text.unwrap_or_default());
            record.push(b'\n');
            if let Err(error) = self.append(&record) {
                self.file = None;
                self.lost += 1;
                if self.lost.is_power_of_two() {
                    tracing::error!(path = %self.path.display(), lost = self.lost, %error, "log records dropped");
                }
            }
            rest = after.unwrap_or_default();
        }
    }

    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if self.lost > 0 {
            let note = format!("\n{} stderr F wsw: {} log records were lost\n", self.stamp(), self.lost);
            self.write(note.as_bytes())?;
            self.lost = 0;
        }
        let length = self.open()?;
        if length > 0 && length + record.len() as u64 > self.bounds.max_size {
            self.rotate()?;
        }
        self.write(record)
    }

    fn open(&mut self) -> io::Result<u64> {
        if let Some((_, length)) = &self.file {
            return Ok(*length);
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&self.path)?;
        let length = file.metadata()?.len();
        self.file = Some((file, length));
        Ok(length)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open()?;
        if let Some((file, length)) = &mut self.file {
            file.write_all(bytes)?;
            *length += bytes.len() as u64;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let older = |number| self.path.with_file_name(older_name(&name, number));
        if self.bounds.max_files <= 1 {
            return files::remove(&self.path);
        }
        let moved = |from: &Path, to: &Path| match std::fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        for number in (1..self.bounds.max_files - 1).rev() {
            moved(&older(number), &older(number + 1))?;
        }
        moved(&self.path, &older(1))
    }
}

/// The time of the last record that an earlier daemon wrote.
fn last_time(path: &Path) -> Option<i128> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path).ok()?;
    let length = file.metadata().ok()?.len();
    // A record and the rest of the one before it.
    let back = length.min(2 * (MAX_LINE + HEAD + 16) as u64);
    file.seek(SeekFrom::Start(length - back)).ok()?;
    let mut bytes = Vec::new();
    file.take(back).read_to_end(&mut bytes).ok()?;
    let time = |line: &[u8]| OffsetDateTime::parse(std::str::from_utf8(line.get(..HEAD)?).ok()?, &Rfc3339).ok();
    bytes.split(|byte| *byte == b'\n').rev().find_map(time).map(OffsetDateTime::unix_timestamp_nanos)
}

/// Reads a container's output until it is told that nothing more comes.
pub(super) struct Pump {
    over: CancellationToken,
    taps: Arc<Taps>,
    readers: Vec<JoinHandle<()>>,
}

impl Pump {
    /// Opens the FIFOs and begins to read.
    pub(super) fn start(streams: &[(PathBuf, Stream)], log: PathBuf, bounds: Bounds) -> Result<Self> {
        let (over, log) = (CancellationToken::new(), Arc::new(Mutex::new(Log::new(log, bounds))));
        let (mut readers, taps) = (Vec::new(), Arc::<Taps>::default());
        for (path, stream) in streams {
            let pipe = PipeOptions::new().read_write(true).open_receiver(path);
            let pipe = pipe.map_err(|e| Error::io(format_args!("open {}", path.display()), &e))?;
            readers.push(tokio::spawn(read(pipe, *stream, Sinks { log: log.clone(), taps: taps.clone() }, over.clone())));
        }
        Ok(Self { over, taps, readers })
    }

    /// The output from now on, as it comes; it ends with the container's.
    pub(super) fn listen(&self) -> mpsc::Receiver<(Stream, Bytes)> {
        self.taps.listen()
    }

    /// Nothing more comes: what is in the FIFOs is written, then it is over.
    pub(super) async fn finish(self) {
        self.over.cancel();
        for reader in self.readers {
            let _ = reader.await;
        }
    }
}

/// Where the output goes.
struct Sinks {
    log: Arc<Mutex<Log>>,
    taps: Arc<Taps>,
}

async fn read(pipe: Receiver, stream: Stream, sinks: Sinks, over: CancellationToken) {
    let mut chunk = vec![0_u8; CHUNK];
    let mut last = false;
    loop {
        // At the end the pipe itself is asked: what was written a moment ago may not be known to be there yet.
        let read = if last { rustix::io::read(&pipe, &mut chunk).map_err(io::Error::from) } else { pipe.try_read(&mut chunk) };
        let read = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if last {
                    return;
                }
                tokio::select! {
                    ready = pipe.readable() => if ready.is_err() { return },
                    () = over.cancelled() => last = true,
                }
                continue;
            }
            Err(error) => return tracing::warn!(%error, "a container's output cannot be read"),
        };
        let (whole, sink) = (std::mem::take(&mut chunk), sinks.log.clone());
        let written = tokio::task::spawn_blocking(move || {
            sink.lock().unwrap_or_else(PoisonError::into_inner).take(stream, whole.get(..read).unwrap_or_default());
            whole
        });
        match written.await {
            Ok(back) => {
                sinks.taps.give(stream, back.get(..read).unwrap_or_default()).await;
                chunk = back;
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.get(HEAD + 1..).unwrap().to_owned()).collect()
    }

    #[test]
    fn lines_and_pieces_become_records_with_rising_times() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.log");
        let mut log = Log::new(path.clone(), Bounds::default());
        log.take(Stream::Stdout, b"one\ntwo");
        log.take(Stream::Stderr, b"three\n");
        // A later daemon goes on with the same log.
        let mut log = Log::new(path.clone(), Bounds::default());
        log.take(Stream::Stdout, b" more\n\n");
        assert_eq!(lines(&path), ["stdout F one", "stdout P two", "stderr F three", "stdout F  more", "stdout F "]);
        let text = std::fs::read_to_string(&path).unwrap();
        let times = text.lines().map(|line| line.get(..HEAD).unwrap()).collect::<Vec<_>>();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        let long = vec![b'x'; MAX_LINE * 2 + 1];
        log.take(Stream::Stdout, &long);
        let parts = lines(&path).iter().rev().take(3).map(String::len).collect::<Vec<_>>();
        assert_eq!(parts, ["stdout P x".len(), "stdout P ".len() + MAX_LINE, "stdout P ".len() + MAX_LINE]);
    }

    #[test]
    fn a_log_takes_no_more_than_its_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.log");
        let mut log = Log::new(path.clone(), Bounds { max_size: 100, max_files: 2 });
        (0..20).for_each(|n| log.take(Stream::Stdout, format!("line {n}\n").as_bytes()));
        assert!(lines(&path).last().unwrap().ends_with("line 19"));
        assert!(std::fs::read_dir(dir.path()).unwrap().count() == 2 && std::fs::metadata(&path).unwrap().len() <= 100);
        let mut none = Log::new(dir.path().join("n.log"), Bounds::NOTHING);
        none.take(Stream::Stdout, b"x\n");
        assert!(!dir.path().join("n.log").exists());
    }

    #[tokio::test]
    async fn what_is_left_in_the_pipe_is_written_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = super::super::bundle::fifo(dir.path(), "out").unwrap();
        let log = dir.path().join("t.log");
        let mut writer = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        writer.write_all(b"before\n").unwrap();
        let pump = Pump::start(&[(fifo, Stream::Stdout)], log.clone(), Bounds::default()).unwrap();
        writer.write_all(b"after\n").unwrap();
        pump.finish().await;
        assert_eq!(lines(&log), ["stdout F before", "stdout F after"]);
    }
}
