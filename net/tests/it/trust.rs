//! Who gets in.

use crate::fixture::{Authority, Claim, MANAGER, WORKER, addr, echo, handlers, manager, node_id, soon};
use std::sync::Arc;
use wsw_api::spec::NodeRole;
use wsw_net::{Endpoint, Error, Protocol, Whom};

#[tokio::test(flavor = "multi_thread")]
async fn two_members_know_each_other() {
    let authority = Authority::new(1);
    let (_manager, at, _) = manager(&authority);
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    for whom in [Whom::Manager, Whom::Node(node_id(1))] {
        let connection = soon("a dial", worker.dial(at, whom, Protocol::Session)).await.unwrap();
        let peer = connection.peer().unwrap();
        assert_eq!((peer.node, peer.role), (node_id(1), NodeRole::Manager));
        assert_eq!(soon("an echo", echo(&connection, b"hello")).await.unwrap(), b"hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_not_taken_for_a_manager_nor_one_node_for_another() {
    let authority = Authority::new(1);
    let gate = Arc::new(crate::fixture::List::default());
    let impostor = Endpoint::listen(addr(), authority.issue(3, &WORKER), handlers(&Protocol::ALL), gate).unwrap();
    let at = impostor.addr().unwrap();
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    for whom in [Whom::Manager, Whom::Node(node_id(4))] {
        let refused = soon("a dial", worker.dial(at, whom, Protocol::Session)).await.unwrap_err();
        assert!(matches!(refused, Error::Untrusted(..)), "{refused:?}");
    }
    assert!(soon("a dial", worker.dial(at, Whom::Node(node_id(3)), Protocol::Blob)).await.is_ok());
}

/// TLS 1.3 lets a client finish before the server has looked at its certificate: the refusal comes with the first stream.
async fn refused(authority: &Authority, at: std::net::SocketAddr, claim: &Claim) -> Error {
    let stranger = Endpoint::dialler(addr(), authority.issue(2, claim)).unwrap();
    match soon("a dial", stranger.dial(at, Whom::Manager, Protocol::Session)).await {
        Err(error) => error,
        Ok(connection) => soon("an echo", echo(&connection, b"let me in")).await.unwrap_err(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_valid_open_nothing() {
    let authority = Authority::new(1);
    let (endpoint, at, _) = manager(&authority);
    let hours = time::Duration::hours;
    let expired = Claim { from: hours(-3), until: hours(-2), ..WORKER };
    let too_early = Claim { from: hours(2), until: hours(3), ..WORKER };
    for claim in [&expired, &too_early] {
        let error = refused(&authority, at, claim).await;
        assert!(!matches!(error, Error::Busy(_) | Error::Unreachable(..)), "{error:?}");
    }
    // The same names, but another root.
    assert!(!matches!(refused(&Authority::new(1), at, &MANAGER).await, Error::Busy(_) | Error::Unreachable(..)));
    let member = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    let connection = soon("a dial", member.dial(at, Whom::Manager, Protocol::Session)).await.unwrap();
    assert_eq!(soon("an echo", echo(&connection, b"still here")).await.unwrap(), b"still here");
    assert_eq!(endpoint.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_runs_out_ends_its_connection() {
    let authority = Authority::new(1);
    let (_manager, at, _) = manager(&authority);
    let brief = Claim { until: time::Duration::seconds(3), ..WORKER };
    let worker = Endpoint::dialler(addr(), authority.issue(2, &brief)).unwrap();
    let connection = soon("a dial", worker.dial(at, Whom::Manager, Protocol::Session)).await.unwrap();
    assert_eq!(soon("an echo", echo(&connection, b"x")).await.unwrap(), b"x");
    assert_eq!(soon("the end", connection.closed()).await, Error::Refused("the certificate has expired".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_gate_refuses_gets_nothing_and_loses_what_it_has() {
    let authority = Authority::new(1);
    let (endpoint, at, gate) = manager(&authority);
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    let other = Endpoint::dialler(addr(), authority.issue(3, &WORKER)).unwrap();
    let connection = soon("a dial", worker.dial(at, Whom::Manager, Protocol::Session)).await.unwrap();
    let kept = soon("a dial", other.dial(at, Whom::Manager, Protocol::Session)).await.unwrap();
    assert!(soon("an echo", echo(&connection, b"x")).await.is_ok() && soon("an echo", echo(&kept, b"x")).await.is_ok());
    gate.0.lock().unwrap().push(node_id(2));
    endpoint.recheck();
    let removed = Error::Refused(format!("node {} was removed", node_id(2)));
    assert_eq!(soon("the end", connection.closed()).await, removed);
    let again = soon("a dial", worker.dial(at, Whom::Manager, Protocol::Blob)).await.unwrap();
    assert_eq!(soon("the end", again.closed()).await, removed);
    assert!(soon("an echo", echo(&kept, b"x")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_does_not_serve_is_refused_by_name() {
    let authority = Authority::new(1);
    let gate = Arc::new(crate::fixture::List::default());
    let quiet = Endpoint::listen(addr(), authority.issue(1, &MANAGER), handlers(&[Protocol::Blob]), gate).unwrap();
    let worker = Endpoint::dialler(addr(), authority.issue(2, &WORKER)).unwrap();
    let connection = soon("a dial", worker.dial(quiet.addr().unwrap(), Whom::Manager, Protocol::Session)).await.unwrap();
    assert_eq!(soon("the end", connection.closed()).await, Error::Refused("this node is not a manager".into()));
}
