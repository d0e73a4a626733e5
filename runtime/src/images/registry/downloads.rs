//! Blobs on their way in: `images/downloads/<hex>.part`, then `<hex>` once it is whole and is what its name says.
//!
//! Owns: resuming, bounds, verifying, and that a blob is loaded once however many wait for it. A part outlives the daemon and goes on where it
//! stopped; one that nobody came back for goes after a day. Invariant: a file without `.part` is verified.

use super::failure::Failure;
use super::session::Session;
use crate::error::{Error, Result};
use crate::files;
use crate::images::blobs::Blobs;
use crate::images::progress::{Sink, short};
use futures_util::StreamExt;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

/// Blobs at a time, all pulls together: docker's three for one pull, room for a second.
const AT_ONCE: usize = 6;
/// Connections for one blob, progress or not: a registry that cuts after each megabyte is left at some point.
const MAX_CONNECTIONS: u32 = 200;
/// A part that nobody came back for.
const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);
/// Between two figures of one blob.
const TICK: Duration = Duration::from_millis(100);
/// Left free on the disk: the daemon's own records must go on.
const RESERVE: u64 = 64 << 20;

/// One blob that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub digest: String,
    pub size: u64,
}

#[derive(Debug)]
pub(crate) struct Downloads {
    folder: PathBuf,
    active: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    pub(super) slots: Semaphore,
}

impl Downloads {
    /// Opens the folder; parts that are too old go.
    pub(crate) fn open(images: &Path) -> Result<Self> {
        let folder = images.join("downloads");
        files::folder(&folder, 0o700)?;
        let this = Self { folder, active: Mutex::default(), slots: Semaphore::new(AT_ONCE) };
        this.expire();
        this.doubt()?;
        Ok(this)
    }

    /// What an earlier daemon finished may not have reached the disk when the machine went down: it is a part again, and read before it counts.
    fn doubt(&self) -> Result<()> {
        for path in std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.extension().is_none() {
                std::fs::rename(&path, path.with_extension("part")).map_err(|e| Error::io("look at a download", &e))?;
            }
        }
        Ok(())
    }

    /// Removes what nobody came back for.
    pub(crate) fn expire(&self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let changed = entry.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            if SystemTime::now().duration_since(changed).is_ok_and(|age| age > MAX_AGE) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Drops the finished files of a pull that is over: the store has them by now, or nobody wants them.
    pub(crate) fn forget(&self, digests: impl IntoIterator<Item = impl AsRef<str>>) {
        for digest in digests {
            let _ = files::remove(&self.path(digest.as_ref()));
        }
    }

    pub(super) fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(digest.trim_start_matches("sha256:"))
    }

    /// Brings one blob to `target`: a second name of the same file.
    pub(crate) async fn fetch(&self, session: &Session, blobs: &Blobs, want: &Want, target: &Path, sink: &Sink) -> Result<(), Failure> {
        self.alone(want, self.bring(session, blobs, want, target, sink)).await
    }

    /// Runs what brings a blob while nobody else brings the same one.
    pub(super) async fn alone<T>(&self, want: &Want, work: impl Future<Output = T>) -> T {
        let lock = self.active.lock().unwrap_or_else(PoisonError::into_inner).entry(want.digest.clone()).or_default().clone();
        let held = lock.lock().await;
        let done = work.await;
        drop(held);
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's: nobody else waits.
        if Arc::strong_count(&lock) <= 2 {
            active.remove(&want.digest);
        }
        done
    }

    async fn bring(&self, session: &Session, blobs: &Blobs, want: &Want, target: &Path, sink: &Sink) -> Result<(), Failure> {
        let (id, whole) = (short(&want.digest), self.path(&want.digest));
        // In the order in which another pull moves it on.
        for known in [&whole, &blobs.path(&want.digest)] {
            if std::fs::hard_link(known, target).is_ok() {
                sink.layer(&id, "Already exists").await;
                return Ok(());
            }
        }
        let _slot = self.slots.acquire().await.map_err(|_| Error::Temporary("the image store is closed".into()))?;
        self.check_room(want.size)?;
        self.download(session, want, &whole, &id, sink).await?;
        sink.layer(&id, "Download complete").await;
        std::fs::hard_link(&whole, target).map_err(|e| Error::io("keep a blob", &e))?;
        Ok(())
    }

    /// A full disk is told before the first byte.
    pub(super) fn check_room(&self, size: u64) -> Result<()> {
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if size.saturating_add(RESERVE) > free {
            let folder = self.folder.display();
            return Err(Error::Temporary(format!("no space left on device: {folder} has {} MiB free, a layer of {} MiB does not fit", free >> 20, size >> 20)));
        }
        Ok(())
    }

    async fn download(&self, session: &Session, want: &Want, whole: &Path, id: &str, sink: &Sink) -> Result<(), Failure> {
        let part = whole.with_extension("part");
        let patience = session.transport().patience;
        let mut fruitless = 0;
        // What an earlier daemon left may have suffered with it: then all of it comes again, once.
        let mut doubtful = std::fs::metadata(&part).is_ok_and(|data| data.len() > 0);
        for _ in 0..MAX_CONNECTIONS {
            let mut have = Part::open(part.clone(), want.size).await?;
            let before = have.size;
            let failure = if before == want.size { None } else { one(session, want, &mut have, id, sink).await.err() };
            match failure {
                None => match finish(have, want, &part, whole).await {
                    Err(failure) if doubtful => {
                        tracing::debug!(blob = want.digest, %failure, "an old part is thrown away");
                        doubtful = false;
                    }
                    done => return done,
                },
                Some(failure) if failure.may_pass() || is_range_refused(&failure) => {
                    if is_range_refused(&failure) {
                        have.restart().await?;
                    }
                    fruitless = if have.size > before { 1 } else { fruitless + 1 };
                    let Some(pause) = patience.before(fruitless, failure.retry_after()) else { return Err(failure) };
                    tracing::debug!(blob = want.digest, %failure, at = have.size, "a download goes on");
                    sink.layer(id, "Retrying").await;
                    tokio::time::sleep(pause).await;
                }
                Some(failure) => {
                    // What came is not to be trusted, or there is no room: a later try begins anew.
                    let _ = files::remove(&part);
                    return Err(failure);
                }
            }
        }
        Err(Failure::Network(format!("blob {}: the registry broke off {MAX_CONNECTIONS} times", want.digest)))
    }
}

fn is_range_refused(failure: &Failure) -> bool {
    failure.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE)
}

/// What there is of a blob.
pub(super) struct Part {
    file: tokio::fs::File,
    hash: Sha256,
    pub(super) size: u64,
}

impl Part {
    pub(super) async fn open(path: PathBuf, limit: u64) -> Result<Self> {
        let opened = files::blocking(move || {
            let mut file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0_u8; 64 * 1024]);
            loop {
                let read = file.read(&mut buffer)?;
                hash.update(buffer.get(..read).unwrap_or_default());
                size += read as u64;
                if read == 0 || size > limit {
                    return Ok((file, hash, size));
                }
            }
        });
        let (file, hash, size) = opened.await?.map_err(|e: io::Error| Error::io("write a download", &e))?;
        let mut this = Self { file: tokio::fs::File::from_std(file), hash, size };
        if size > limit {
            this.restart().await?;
        }
        Ok(this)
    }

    async fn restart(&mut self) -> Result<()> {
        use tokio::io::AsyncSeekExt;
        (self.hash, self.size) = (Sha256::new(), 0);
        let cleared = async {
            self.file.set_len(0).await?;
            self.file.rewind().await
        };
        cleared.await.map(drop).map_err(|e| Error::io("write a download", &e))
    }

    /// What was added may be read by another.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.file.flush().await.map_err(|e| Error::io("write a download", &e))
    }

    pub(super) async fn add(&mut self, piece: &[u8]) -> Result<()> {
        self.file.write_all(piece).await.map_err(|e| Error::io("write a download", &e))?;
        self.hash.update(piece);
        self.size += piece.len() as u64;
        Ok(())
    }
}

/// One connection: from what is there to the end, or to where it breaks.
async fn one(session: &Session, want: &Want, have: &mut Part, id: &str, sink: &Sink) -> Result<(), Failure> {
    let answer = session.blob(&want.digest, have.size).await?;
    let lies = |said: u64| Failure::Own(Error::Invalid(format!("blob {}: the registry sends {said} bytes, the manifest says {}", want.digest, want.size)));
    if have.size > 0 && (answer.status() != StatusCode::PARTIAL_CONTENT || starts_at(&answer) != Some(have.size)) {
        have.restart().await?;
    }
    if let Some(length) = answer.content_length().filter(|length| have.size + length != want.size) {
        return Err(lies(have.size + length));
    }
    let (mut stream, mut told) = (answer.bytes_stream(), std::time::Instant::now());
    let result = loop {
        let Some(piece) = stream.next().await else { break Ok(()) };
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => break Err(Failure::Network(format!("blob {}: {}", want.digest, super::words::chain(&error)))),
        };
        if have.size + piece.len() as u64 > want.size {
            return Err(lies(have.size + piece.len() as u64));
        }
        have.add(&piece).await?;
        if told.elapsed() >= TICK {
            told = std::time::Instant::now();
            sink.figures(id, "Downloading", have.size, want.size);
        }
    };
    have.file.flush().await.map_err(|e| Error::io("write a download", &e))?;
    result?;
    match have.size {
        size if size == want.size => Ok(()),
        size => Err(Failure::Network(format!("blob {}: the connection ended after {size} of {} bytes", want.digest, want.size))),
    }
}

/// The first byte of a partial answer.
fn starts_at(answer: &Response) -> Option<u64> {
    let text = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The last look before it gets its name.
pub(super) async fn finish(mut have: Part, want: &Want, part: &Path, whole: &Path) -> Result<(), Failure> {
    have.file.flush().await.map_err(|e| Error::io("write a download", &e))?;
    let found = format!("sha256:{}", hex::encode(have.hash.finalize()));
    if found != want.digest {
        let _ = files::remove(part);
        return Err(Error::Invalid(format!("filesystem layer verification failed for digest {}: what came is {found}", want.digest)).into());
    }
    std::fs::rename(part, whole).map_err(|e| Error::io("keep a download", &e))?;
    Ok(())
}
