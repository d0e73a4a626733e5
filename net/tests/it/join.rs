//! Joining: the root is known by its digest, and nothing else is.

use crate::fixture::{Authority, addr, echo, handlers, manager, soon};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use wsw_net::{Endpoint, Error, Pinned, Protocol, dial_unknown};

fn pinned(authority: &Authority) -> (Pinned, Vec<u8>) {
    let der = CertificateDer::from_pem_slice(authority.root.as_bytes()).unwrap().to_vec();
    let digest: [u8; 32] = Sha256::digest(&der).into();
    (Arc::new(move |found: &[u8; 32]| *found == digest), der)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_joins_whom_its_token_names() {
    let authority = Authority::new(1);
    let (_manager, at, _) = manager(&authority);
    let (is_root, der) = pinned(&authority);
    let (connection, root) = soon("a dial", dial_unknown(at, is_root)).await.unwrap();
    assert_eq!(root, der);
    assert!(connection.peer().is_none());
    assert_eq!(soon("an echo", echo(&connection, b"let me in")).await.unwrap(), b"let me in");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_is_not_told_anything() {
    let (authority, other) = (Authority::new(1), Authority::new(2));
    let (_manager, at, _) = manager(&authority);
    let refused = soon("a dial", dial_unknown(at, pinned(&other).0)).await.map(drop).unwrap_err();
    assert_eq!(refused, Error::Untrusted(at, "remote CA does not match fingerprint".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cannot_pose_as_the_cluster() {
    let authority = Authority::new(1);
    let gate = Arc::new(crate::fixture::List::default());
    let worker = Endpoint::listen(addr(), authority.issue(2, &crate::fixture::WORKER), handlers(&Protocol::ALL), gate).unwrap();
    let refused = soon("a dial", dial_unknown(worker.addr().unwrap(), pinned(&authority).0)).await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::Untrusted(..)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_said_so() {
    let at = std::net::UdpSocket::bind(addr()).unwrap().local_addr().unwrap();
    let refused = soon("a dial", dial_unknown(at, pinned(&Authority::new(1)).0)).await.map(drop).unwrap_err();
    assert_eq!(refused, Error::Unreachable(at, "nobody answers".into()));
}
