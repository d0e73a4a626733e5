//! Images from peers: the peer is another store, with faults in between.

use super::fixture::{Store, artifact, module};
use crate::images::{Given, Peers, PullRequest};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What goes wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Each connection breaks off after so many bytes.
    Cut(u64),
    /// One bit is another.
    Spoilt,
    /// It claims another size.
    Size,
    /// Nobody has anything.
    Missing,
    /// Nobody answers.
    Down,
}

struct Peer {
    name: &'static str,
    store: Store,
    fault: Fault,
    opened: AtomicU64,
    offsets: Mutex<Vec<u64>>,
}

#[async_trait]
impl Peers for Peer {
    async fn open(&self, digest: &str, offset: u64, avoid: &BTreeSet<String>) -> io::Result<Option<Given>> {
        if avoid.contains(self.name) {
            return Ok(None);
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.fault == Fault::Down {
            return Err(io::Error::other("nobody answers"));
        }
        let Some((mut file, size)) = self.store.images.open_blob(digest).await.unwrap().filter(|_| self.fault != Fault::Missing) else { return Ok(None) };
        self.offsets.lock().unwrap().push(offset);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        match self.fault {
            Fault::Cut(after) => bytes.truncate(after as usize),
            Fault::Spoilt => bytes[0] ^= 1,
            _ => {}
        }
        let size = size + u64::from(self.fault == Fault::Size);
        Ok(Some(Given { size, from: self.name.into(), bytes: Box::new(io::Cursor::new(bytes)) }))
    }
}

/// A store whose peer has one image, and how a task would name it.
async fn beside(fault: Fault, text: &str) -> (Store, Arc<Peer>, PullRequest) {
    let there = Store::new();
    there.load(artifact("127.0.0.1:1/app:v1", &module(text))).await.unwrap();
    let digest = there.images.list().remove(0).digest;
    let peer = Arc::new(Peer { name: "there", store: there, fault, opened: AtomicU64::new(0), offsets: Mutex::default() });
    let here = Store::new();
    here.images.set_peers(Some(peer.clone()));
    (here, peer, PullRequest { reference: format!("127.0.0.1:1/app:v1@{digest}"), ..PullRequest::default() })
}

#[tokio::test]
async fn an_image_comes_whole_and_stays() {
    let (here, peer, request) = beside(Fault::None, "hello").await;
    let pulled = here.images.ensure(request.clone()).await.unwrap();
    assert_eq!(here.images.find(&request.reference).unwrap().digest, pulled.image);
    assert_eq!(here.images.list(), {
        let mut same = peer.store.images.list();
        for (there, here) in same.iter_mut().zip(here.images.list()) {
            (there.tags, there.repo_digests, there.tagged_at) = (here.tags, here.repo_digests, here.tagged_at);
        }
        same
    });
    let again = here.again();
    assert!(again.images.find(&request.reference).is_ok());
}

#[tokio::test]
async fn what_breaks_off_goes_on_where_it_stopped() {
    let (here, peer, request) = beside(Fault::Cut(700), &"x".repeat(3_000)).await;
    here.images.ensure(request.clone()).await.unwrap();
    assert!(here.images.find(&request.reference).is_ok());
    let offsets = peer.offsets.lock().unwrap().clone();
    assert!([700, 1_400, 2_100, 2_800].iter().all(|offset| offsets.contains(offset)), "{offsets:?}");
}

/// Several peers, asked in turn: one that breaks off, or is busy, is followed by the next.
struct Several {
    peers: Vec<Arc<Peer>>,
    turn: AtomicU64,
    busy: AtomicU64,
}

#[async_trait]
impl Peers for Several {
    async fn open(&self, digest: &str, offset: u64, avoid: &BTreeSet<String>) -> io::Result<Option<Given>> {
        if offset > 0 && self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        for at in 0..self.peers.len() {
            if let Some(given) = self.peers[(turn + at) % self.peers.len()].open(digest, offset, avoid).await? {
                return Ok(Some(given));
            }
        }
        Ok(None)
    }
}

#[tokio::test]
async fn one_that_breaks_off_is_followed_by_the_next_and_one_that_spoils_is_left_out() {
    for faults in [[Fault::Cut(700), Fault::None], [Fault::Spoilt, Fault::None], [Fault::Size, Fault::None], [Fault::Spoilt, Fault::Cut(900)]] {
        let (here, first, request) = beside(faults[0], &"x".repeat(3_000)).await;
        let there = Store::new();
        there.load(artifact("127.0.0.1:1/app:v1", &module(&"x".repeat(3_000)))).await.unwrap();
        let second = Arc::new(Peer { name: "second", store: there, fault: faults[1], opened: AtomicU64::new(0), offsets: Mutex::default() });
        let several = Several { peers: vec![first.clone(), second.clone()], turn: AtomicU64::new(0), busy: AtomicU64::new(2) };
        here.images.set_peers(Some(Arc::new(several)));
        here.images.ensure(request.clone()).await.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        assert!(here.images.find(&request.reference).is_ok(), "{faults:?}");
        assert!(second.opened.load(Ordering::Relaxed) > 0, "{faults:?}");
    }
}

#[tokio::test]
async fn many_tasks_make_one_transfer() {
    let (here, peer, request) = beside(Fault::None, "many").await;
    let ensured = (0..20).map(|_| here.images.ensure(request.clone()));
    for done in futures_util::future::join_all(ensured).await {
        done.unwrap();
    }
    assert_eq!(peer.opened.load(Ordering::Relaxed), 3, "manifest, configuration and module, each once");
}

#[tokio::test]
async fn what_peers_spoil_or_lack_is_not_taken() {
    for fault in [Fault::Spoilt, Fault::Size, Fault::Missing, Fault::Down] {
        let (here, peer, request) = beside(fault, "hello").await;
        // The registry that is asked afterwards does not exist.
        assert!(here.images.ensure(request).await.is_err(), "{fault:?}");
        assert!(peer.opened.load(Ordering::Relaxed) > 0 && here.images.list().is_empty(), "{fault:?}");
        assert_eq!(here.files(), Vec::<String>::new(), "{fault:?}");
    }
}

#[tokio::test]
async fn nothing_but_parts_of_images_is_given_out() {
    let (_, peer, _) = beside(Fault::None, "hello").await;
    let images = &peer.store.images;
    for wrong in ["", "sha256:", "sha256:../../index.json", "../index.json", &format!("sha256:{}", "0".repeat(64))] {
        assert!(images.open_blob(wrong).await.unwrap().is_none(), "{wrong}");
    }
}
